"""What a person does, with a real hub and a real agent."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import List, Optional, Tuple

import pytest
from fits import assert_fits
from world import eventually, within

from kubeedge_cloudcore import (
    CloudCoreClient,
    CommandFailedError,
    ConflictError,
    DeviceUnreachableError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    WaitTimeoutError,
)
from kubeedge_cloudcore._model import Model


def test_a_device_is_listed_and_looked_at(client: CloudCoreClient, device: str) -> None:
    found = [each for each in client.list_devices() if each.device_id == device]
    assert (found[0].status, found[0].device_type, found[0].joined) == ("Ready", "camera", True)
    overview = eventually(
        lambda: next(
            (d for d in [client.get_device(device)] if d.device_status.memory_used_bytes), None
        )
    )
    assert overview.device_status.online
    assert overview.platform.arch
    assert overview.metrics.total_detections == 0


def test_a_picture_is_taken_and_fetched(
    client: CloudCoreClient, device: str, tmp_path: Path
) -> None:
    taken = client.run_command(device, "capture_image", {"format": "jpg", "quality": 90})
    assert taken.status == "completed"
    assert taken.result is not None
    url = taken.result["image_url"]
    picture = client.get_image(url)
    assert picture.startswith(b"\xff\xd8")
    told: List[Tuple[int, Optional[int]]] = []
    file = tmp_path / "picture.jpg"
    size = client.download_image(url, file, progress=lambda *so_far: told.append(so_far))
    assert file.read_bytes() == picture
    assert told[-1] == (size, len(picture))
    assert {each.kind for each in client.list_pictures(device)} == {"command"}
    with pytest.raises(PermissionDeniedError):
        client.download_image(url.replace("signature=", "signature=0"), tmp_path / "other.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["picture.jpg"], "no half file is left"


def test_a_command_is_waited_for(client: CloudCoreClient, device: str) -> None:
    sent = client.send_command(device, "get_status", timeout=60)
    done = client.wait_for_command(sent.command_id)
    assert (done.status, done.command) == ("completed", "get_status")
    assert done.completed_at is not None
    assert done.deadline.tzinfo is not None
    assert sent.command_id in [each.command_id for each in client.list_commands(device_id=device)]
    with pytest.raises(ConflictError):
        client.cancel_command(sent.command_id)


def test_a_command_that_fails_is_an_error_where_one_asks_for_it(
    client: CloudCoreClient, device: str
) -> None:
    with pytest.raises(CommandFailedError) as caught:
        client.run_command(device, "no_such_command", timeout=60)
    assert caught.value.command.status == "failed"
    assert "no_such_command" in str(caught.value)
    failed = client.wait_for_command(caught.value.command.command_id)
    assert failed.status == "failed", "without `check` it is an end like others"


def test_a_device_that_is_away(client: CloudCoreClient) -> None:
    client.join_device("away-node", "away")
    with pytest.raises(DeviceUnreachableError) as caught:
        client.send_command("away", "get_status", queue=False)
    assert (caught.value.code, caught.value.status) == ("API-008", 502)
    sent = client.send_command("away", "get_status", timeout=3600)
    with pytest.raises(WaitTimeoutError, match="queued"):
        client.wait_for_command(sent.command_id, timeout=0.3)
    client.cancel_command(sent.command_id)
    assert client.wait_for_command(sent.command_id).status == "cancelled"
    removed = client.delete_device("away")
    assert removed.actions_taken
    with pytest.raises(NotFoundError):
        client.get_device("away")


def test_errors_say_what_the_hub_says(client: CloudCoreClient) -> None:
    with pytest.raises(NotFoundError) as caught:
        client.get_device("nobody")
    error = caught.value
    assert (error.code, error.status) == ("API-004", 404)
    assert error.request_id
    assert error.request_id in str(error)
    assert "nobody" in error.message
    with pytest.raises(InvalidRequestError):
        client.join_device("Not A Node", "x")
    with pytest.raises(ValueError, match="names nothing"):
        client.get_device("..")


def test_names_are_escaped_in_paths(client: CloudCoreClient) -> None:
    with pytest.raises((NotFoundError, InvalidRequestError)) as caught:
        client.delete_user("a/b?c#d%")
    assert "path" not in caught.value.message


def test_connection_tests(client: CloudCoreClient, device: str) -> None:
    started = client.test_connection(device, ["ping", "camera_test"])
    report = client.wait_for_test(started.test_id)
    assert {each.test: each.status for each in report.results} == {
        "ping": "passed",
        "camera_test": "passed",
    }


def test_logs_are_read_and_followed(client: CloudCoreClient, device: str) -> None:
    text = client.get_device_logs(device, lines=5, level="info", since=datetime.now(timezone.utc))
    assert isinstance(text, str)
    with client.follow_device_logs(device, lines=3, level="info") as lines:
        assert "T" in within(lambda: next(lines))
    with pytest.raises(NotFoundError):
        next(client.follow_device_logs("nobody"))


def test_a_batch_has_a_result_for_each(client: CloudCoreClient) -> None:
    joined = client.batch_join_devices(
        [
            {"node_name": "batch-1", "device_id": "batch-cam-1", "device_type": "camera"},
            {"node_name": "Not A Node", "device_id": "batch-cam-2"},
        ]
    )
    assert (joined.total, joined.success, joined.failed) == (2, 1, 1)
    good, bad = joined.results
    assert good.details is not None
    assert good.details.join_command
    assert bad.code == "API-001"
    client.delete_device("batch-cam-1")


def test_a_model_is_uploaded_from_its_file(client: CloudCoreClient, tmp_path: Path) -> None:
    model, beside = tmp_path / "m.onnx", tmp_path / "m.json"
    model.write_bytes(b"\x08\x07" + bytes(300_000))
    description = {
        "name": "grey",
        "version": "1",
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "licence": "Apache-2.0",
        "source": "a test",
        "head": {"family": "nanodet", "strides": [8], "reg_max": 7},
        "input": {"width": 32, "height": 32, "colour_order": "bgr"},
        "labels": ["grey"],
    }
    beside.write_text(json.dumps(description))
    told: List[Tuple[int, Optional[int]]] = []
    added = client.upload_model(model, beside, progress=lambda *so_far: told.append(so_far))
    assert (added.name, added.size_bytes) == ("grey", 300_002)
    assert told[-1] == (300_002, 300_002)
    assert len(told) > 3
    assert client.upload_model(model, description).sha256 == added.sha256
    assert [each.version for each in client.list_models(name="grey")] == ["1"]
    assert client.get_model("grey", "1").labels == ["grey"]
    client.delete_model("grey", "1")


def test_apps_without_an_engine_fail_and_say_so(client: CloudCoreClient, device: str) -> None:
    deployed = client.deploy_app(
        "hello",
        "registry.invalid/hello:1",
        [device],
        config={"A": 1},
        resources={"cpu": "100m"},
        ports=[{"host": 5001, "container": 80}],
    )
    assert deployed.results[0].device_id == device
    assert [app.name for app in client.list_apps(device_id=device)] == ["hello"]
    client.delete_app("hello")


def test_alerts_metrics_certificates_and_the_audit_log(
    client: CloudCoreClient, device: str
) -> None:
    assert client.list_alerts(active=True, type="no_such_type") == []
    assert client.get_metrics().devices_by_type["camera"] >= 1
    assert client.get_metrics_health().components.database.status
    assert "cloudcore_" in client.get_prometheus_metrics()
    assert client.get_mqtt_status().own
    assert client.list_detections(device_id=device) == []
    kinds = {each.kind for each in client.list_certificates()}
    assert {"ca", "link", "node"} <= kinds
    assert client.renew_certificates(target="link").renewed
    log = client.list_security_logs(actor="admin", outcome="done", limit=5)
    assert len(log) == 5
    assert log.next_cursor is not None
    assert client.verify_security_logs().intact


def test_mqtt_access(client: CloudCoreClient) -> None:
    client.join_device("sensor-node", "sensor-1", device_type="sensor")
    assert client.grant_mqtt_access("sensor-1").password
    client.revoke_mqtt_access("sensor-1")
    client.delete_device("sensor-1")


def test_answers_are_what_the_models_say(client: CloudCoreClient, device: str) -> None:
    client.run_command(device, "capture_image", timeout=60)
    client.list_devices()
    answers: List[Model] = [
        client.get_health(),
        client.get_metrics(),
        client.get_metrics_health(),
        client.get_config(),
        client.get_cloudcore_status(),
        client.get_maintenance_status(),
        client.get_mqtt_status(),
        client.get_device(device),
        client.verify_security_logs(),
        client.generate_token("fits"),
        *client.list_devices(),
        *client.list_commands(limit=20),
        *client.list_pictures(device),
        *client.list_tokens(),
        *client.list_certificates(),
        *client.list_security_logs(limit=20),
        *client.list_users(),
    ]
    for each in answers:
        assert_fits(each)
