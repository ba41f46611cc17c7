"""What an administrator does, with a real hub."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest
from faults import Script, answer
from world import PASSWORD, Hub, eventually

from kubeedge_cloudcore import (
    AuthenticationError,
    CloudCoreClient,
    PermissionDeniedError,
    RateLimitError,
    ServiceUnavailableError,
    TransportError,
)


def test_tokens(client: CloudCoreClient) -> None:
    made = client.generate_token("edge-77", expiry_hours=1, description="x", reusable=True)
    assert made.token in made.join_command
    listed = client.list_tokens(node_name="edge-77")
    assert [(each.status, each.reusable) for each in listed] == [("active", True)]
    assert client.revoke_token("edge-77").tokens_revoked == 1


def test_lists_go_over_pages(client: CloudCoreClient) -> None:
    for n in range(7):
        client.generate_token("page-node", description=str(n))
    everything = client.list_tokens(node_name="page-node")
    assert (len(everything), everything.total, everything.next_cursor) == (7, 7, None)
    first = client.list_tokens(node_name="page-node", limit=3)
    assert (len(first), first.total) == (3, 7)
    rest = client.list_tokens(node_name="page-node", cursor=first.next_cursor)
    assert [*first, *rest] == everything
    with pytest.raises(ValueError, match="at least 1"):
        client.list_tokens(limit=0)


def test_users_roles_and_keys(hub: Hub, client: CloudCoreClient) -> None:
    assert client.create_user("eve", "eve's password").role == "viewer"
    with CloudCoreClient(hub.url, username="eve", password="eve's password") as eve:
        eve.list_devices()
        with pytest.raises(PermissionDeniedError) as caught:
            eve.join_device("n", "d")
        assert caught.value.code == "API-003"
        eve.change_password("eve's password", "another password")
        eve.list_devices()
    assert client.update_user("eve", disabled=True).disabled
    assert "eve" in [user.username for user in client.list_users()]
    made = client.create_api_key("ci", role="operator", expiry_days=1)
    with CloudCoreClient(hub.url, api_key=made.api_key) as robot:
        robot.generate_token("robots")
        with pytest.raises(PermissionDeniedError):
            robot.list_users()
    client.delete_api_key(made.key_id)
    client.delete_user("eve")
    with (
        CloudCoreClient(hub.url, api_key=made.api_key) as robot,
        pytest.raises(AuthenticationError),
    ):
        robot.list_devices()


def test_without_credentials_what_is_public_is_there(hub: Hub) -> None:
    with CloudCoreClient(hub.url + "/api/kubeedge/") as anybody:
        assert anybody.get_health().status == "healthy"
        assert "Installs" in anybody.get_installer()
        assert anybody.list_releases().releases == []
        assert anybody.get_postman_collection()["item"]
        assert "<html" in anybody.swagger_ui()
        with pytest.raises(AuthenticationError):
            anybody.list_devices()
        anybody.login("admin", PASSWORD)
        assert anybody.create_ticket().ticket
        with pytest.raises(AuthenticationError):
            anybody.login("admin", "another")


def test_a_token_file_is_read_again(hub: Hub, client: CloudCoreClient, tmp_path: Path) -> None:
    file = tmp_path / "token"
    first, second = (client.create_api_key(name, role="viewer") for name in ("one", "two"))
    file.write_text(first.api_key + "\n")
    with CloudCoreClient(hub.url, token_file=file) as robot:
        robot.list_devices()
        client.delete_api_key(first.key_id)
        with pytest.raises(AuthenticationError):
            robot.list_devices()
        file.write_text(second.api_key)
        robot.list_devices()


def test_tls_trusts_the_named_ca_alone(hub: Hub, tmp_path: Path) -> None:
    ca = hub.data / "ca.pem"
    with CloudCoreClient(hub.https, username="admin", password=PASSWORD, ca_file=ca) as client:
        assert client.get_metrics().summary.total_devices >= 0
    with (
        CloudCoreClient(hub.https, retries=0) as client,
        pytest.raises(TransportError, match="certificate"),
    ):
        client.get_health()
    with pytest.raises(ValueError, match="no CA certificate"):
        CloudCoreClient(hub.https, ca_file=tmp_path / "nothing.pem")


def test_a_release_is_fetched_and_checked(
    client: CloudCoreClient, hub: Hub, tmp_path: Path
) -> None:
    folder = hub.data / "downloads"
    folder.mkdir(exist_ok=True)
    (folder / "cloudcore-agent-9.9.9-linux-amd64").write_bytes(b"\x7fELF" + bytes(100_000))
    release = eventually(lambda: client.list_releases().releases)[0]
    file = tmp_path / "agent"
    assert client.get_release(release.file, file, sha256=release.sha256) == release.size_bytes
    with pytest.raises(Exception, match="SHA-256"):
        client.get_release(release.file, tmp_path / "bad", sha256="0" * 64)
    assert [path.name for path in tmp_path.iterdir()] == ["agent"]
    (folder / release.file).unlink()


def test_settings_and_maintenance(client: CloudCoreClient) -> None:
    changed = client.update_config(token_expiry=96, alerts={"cpu_percent": 91})
    assert changed.config.security.token_expiry == 96
    assert client.get_config().alerts.cpu_percent == 91
    assert client.start_maintenance("a test").maintenance.active
    try:
        with pytest.raises(ServiceUnavailableError) as caught, client_of(client) as impatient:
            impatient.generate_token("n")
        assert caught.value.code == "API-009"
        assert client.get_maintenance_status().reason == "a test"
    finally:
        assert not client.stop_maintenance().maintenance.active


def client_of(other: CloudCoreClient) -> CloudCoreClient:
    """One that does not try again."""
    return CloudCoreClient(other._base_url, username="admin", password=PASSWORD, retries=0)


def test_what_only_a_cluster_has(client: CloudCoreClient) -> None:
    with pytest.raises(ServiceUnavailableError), client_of(client) as impatient:
        impatient.deploy_cloudcore("1.18.0", replicas=1)
    assert client.get_cloudcore_status().pods == []


def test_webhooks(client: CloudCoreClient) -> None:
    with Script(answer({})) as receiver:
        made = client.create_webhook(receiver.url + "/hook", ["alert", "device_joined"])
        assert made.secret
        assert client.test_webhook(made.webhook_id).response_code == 200
        assert receiver.asked[0].path == "/hook"
        assert made.webhook_id in [each.webhook_id for each in client.list_webhooks()]
        deliveries = client.list_webhook_deliveries(made.webhook_id)
        assert all(each.event for each in deliveries)
        client.delete_webhook(made.webhook_id)


def test_a_restore_ends_sessions_and_the_client_logs_in_again(
    start_hub: Callable[..., Hub],
) -> None:
    hub = start_hub("--rate-limit", "0")
    with hub.client() as client:
        made = client.create_backup(name="b-1", include=["devices", "users"], description="x")
        assert [each.backup_id for each in client.list_backups()] == [made.backup_id]
        client.join_device("later", "later")
        restored = client.restore_backup(made.backup_id)
        assert "users" in restored.restored
        assert client.list_devices() == [], "asked with a session that is over"
        client.delete_backup(made.backup_id)


def test_the_limit_of_requests_says_when_there_is_room(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub("--rate-limit", "3")
    with hub.client(retries=0) as client, pytest.raises(RateLimitError) as caught:
        [client.list_devices() for _ in range(10)]
    assert caught.value.code == "API-006"
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 61
