"""Lost answers, refusals for now, and credentials that end."""

from __future__ import annotations

import json
import logging
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any, Iterator, List

import httpx
import pytest
from faults import Answers, Relay, Script, answer, hang_up, problem
from world import PASSWORD, Hub

from kubeedge_cloudcore import (
    ApiError,
    AuthenticationError,
    CloudCoreClient,
    CloudCoreError,
    ConflictError,
    RateLimitError,
    RequestTimeoutError,
    ServiceUnavailableError,
    TransportError,
)

HEALTH = {
    "status": "healthy",
    "timestamp": "2024-01-15T10:30:00Z",
    "version": "1",
    "components": {},
}
SENT = {"status": "success", "command_id": "cmd_1", "device_id": "d", "command": "ping"}


MADE: List[CloudCoreClient] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Closes the clients of each story."""
    yield
    while MADE:
        MADE.pop().close()


def made(url: str, **arguments: Any) -> CloudCoreClient:
    """A client that is closed at the story's end."""
    MADE.append(CloudCoreClient(url, **arguments))
    return MADE[-1]


def quick(server: Script, **arguments: Any) -> CloudCoreClient:
    """A client that waits a hundredth of a second at most."""
    return made(server.url, **{"api_key": "k", "max_wait": 0.01, **arguments})


def test_not_now_is_asked_again() -> None:
    with Script(
        problem(503, "API-009"), problem(429, "API-006"), hang_up, answer(HEALTH)
    ) as server:
        assert quick(server).get_health().status == "healthy"
        assert len(server.asked) == 4


def test_retry_after_is_honoured() -> None:
    with Script(problem(429, "API-006", Retry_After="1"), answer(HEALTH)) as server:
        start = time.monotonic()
        made(server.url).get_health()
        assert time.monotonic() - start >= 1.0


def test_a_retry_after_that_is_too_long_is_the_error() -> None:
    with Script(problem(429, "API-006", Retry_After="3600")) as server:
        with pytest.raises(RateLimitError) as caught:
            made(server.url).get_health()
        assert caught.value.retry_after == 3600
        assert caught.value.details == {"a": 1}


def test_a_date_is_a_retry_after_as_well() -> None:
    def step(answers: Answers) -> None:
        # By the server's clock, which is years behind.
        answers.send_response_only(503)
        answers.send_header("date", "Mon, 15 Jan 2024 10:00:00 GMT")
        answers.send_header("retry-after", "Mon, 15 Jan 2024 10:01:30 GMT")
        answers.send_header("content-length", "0")
        answers.end_headers()

    with Script(step) as server, pytest.raises(ServiceUnavailableError) as caught:
        made(server.url).get_health()
    assert (caught.value.retry_after, caught.value.code) == (90.0, None)


def test_tries_are_bounded_and_can_be_turned_off() -> None:
    with Script(*[problem(503, "API-009")] * 10) as server:
        with pytest.raises(ServiceUnavailableError):
            quick(server, retries=2).get_health()
        assert len(server.asked) == 3
        with pytest.raises(ServiceUnavailableError):
            quick(server, retries=0).get_health()
        assert len(server.asked) == 4


def test_what_waits_for_a_setting_of_the_hub_is_not_tried_again() -> None:
    refused = {"status": "error", "code": "API-009", "message": "no cluster", "request_id": "req-1"}
    step = answer({**refused, "details": {"reason": "not_configured"}}, 503)
    with Script(step, answer(HEALTH)) as server:
        with pytest.raises(ServiceUnavailableError, match="no cluster"):
            quick(server).get_health()
        assert len(server.asked) == 1


def test_other_errors_are_not_tried_again() -> None:
    with Script(
        problem(500, "API-007"), problem(502, "API-008"), problem(404, "API-004")
    ) as server:
        for _ in range(3):
            with pytest.raises(ApiError):
                quick(server).get_health()
        assert len(server.asked) == 3


def test_a_post_is_repeated_under_one_key_with_one_body() -> None:
    with Script(hang_up, problem(503, "API-009"), answer(SENT), answer(SENT)) as server:
        client = quick(server)
        assert client.send_command("d", "ping").command_id == "cmd_1"
        client.send_command("d", "ping", idempotency_key="my own")
        keys = [asked.headers["idempotency-key"] for asked in server.asked]
        assert keys[0] == keys[1] == keys[2]
        assert keys[3] == "my own"
        assert len({asked.body for asked in server.asked}) == 1


def test_a_conflict_after_a_lost_answer_may_be_our_own_first_try() -> None:
    with Script(hang_up, problem(409, "API-005"), answer(SENT), problem(409, "API-005")) as server:
        client = quick(server)
        assert client.send_command("d", "ping").command_id == "cmd_1"
        with pytest.raises(ConflictError):
            client.send_command("d", "ping")
        assert len(server.asked) == 4, "a conflict at the first try is one"


def test_a_change_whose_answer_is_lost_is_made_once(hub: Hub, client: CloudCoreClient) -> None:
    with Relay(hub.ready["http"]) as relay:
        other = CloudCoreClient(relay.url, username="admin", password=PASSWORD, max_wait=0.2)
        other.list_devices()
        relay.lose_answer_to(b"device/join")
        joined = other.join_device("lost-node", "lost")
        assert joined.status == "success"
        relay.lose_answer_to(b"lost/command")
        sent = other.send_command("lost", "get_status")
        assert [each.command_id for each in client.list_commands(device_id="lost")] == [
            sent.command_id
        ]
        other.close()


def test_a_hub_that_is_not_there() -> None:
    with Script() as server:
        url = server.url
    with pytest.raises(TransportError) as caught:
        made(url, retries=1, max_wait=0.01).get_health()
    error = caught.value
    assert (error.code, error.status, error.request_id) == (None, None, None)
    assert "GET /api/health" in str(error)
    assert isinstance(error, CloudCoreError)


def test_an_answer_that_does_not_come_in_time() -> None:
    def never(answers: Answers) -> None:
        answers.rfile.read(1)

    with Script(never) as server, pytest.raises(RequestTimeoutError):
        made(server.url, timeout=0.2, retries=0).get_health()


def test_answers_of_others_than_a_hub() -> None:
    with Script(
        lambda answers: answers.text(502, "<html>secret</html>"),
        lambda answers: answers.text(200, "<html>hello</html>"),
        answer([]),
    ) as server:
        with pytest.raises(ApiError, match="Bad Gateway") as caught:
            quick(server).get_health()
        assert (caught.value.status, caught.value.code) == (502, None)
        for _ in range(2):
            with pytest.raises(ApiError, match="a hub's"):
                quick(server).get_health()


def session(life: float) -> str:
    claims = urlsafe_b64encode(json.dumps({"iat": 1000, "exp": 1000 + life}).encode())
    return f"e30.{claims.decode().rstrip('=')}.sig-{life}"


def test_a_session_is_renewed_before_it_ends_by_no_clock_of_ours() -> None:
    logins = [answer({"token": session(life), "user": {}}) for life in (0.0, 3600.0)]
    with Script(logins[0], answer(HEALTH), logins[1], answer(HEALTH), answer(HEALTH)) as server:
        client = quick(server, api_key=None, username="u", password="p")
        for _ in range(3):
            client.get_health()
        used = [asked.headers.get("authorization") for asked in server.asked]
        first, second = f"Bearer {session(0.0)}", f"Bearer {session(3600.0)}"
        assert used == [None, first, None, second, second]


def test_a_session_that_was_ended_is_opened_again_once() -> None:
    login = answer({"token": session(3600.0), "user": {}})
    refusal = problem(401, "API-002")
    with Script(login, refusal, login, answer(HEALTH), refusal, login, refusal) as server:
        client = quick(server, api_key=None, username="u", password="p")
        assert client.get_health().status == "healthy"
        with pytest.raises(AuthenticationError):
            client.get_health()
        assert len(server.asked) == 7


def test_credentials_are_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "s3cret-s3cret"
    with Script(
        problem(503, "API-009"), problem(401, "API-002"), hang_up, problem(403, "API-003")
    ) as server:
        key, user = (
            quick(server, api_key=secret, retries=1),
            quick(server, api_key=None, username="u", password=secret, retries=0),
        )
        shown = [repr(key), repr(user), repr(key.__dict__), repr(user.__dict__)]
        for client in (key, user, user):
            with pytest.raises(CloudCoreError) as caught:
                client.get_metrics()
            error = caught.value
            shown += [repr(error), str(error), repr(error.__dict__), repr(error.__cause__)]
        assert secret not in "".join(shown) + caplog.text
        with pytest.raises(ValueError, match="no user and password"):
            CloudCoreClient(f"http://u:{secret}@hub")


def test_credentials_go_to_the_hub_alone() -> None:
    """A link to a picture leads to the hub that is known, without credentials."""
    picture = "http://elsewhere.invalid/api/kubeedge/images/d/ab?expires=1&signature=x"
    with Script(lambda answers: answers.text(200, "jpeg")) as server:
        assert quick(server).get_image(picture, boxes=True) == b"jpeg"
        asked = server.asked[0]
        assert asked.path == "/api/kubeedge/images/d/ab?expires=1&signature=x&boxes=true"
        assert "authorization" not in asked.headers
        with pytest.raises(ValueError, match="no link"):
            quick(server).get_image("http://elsewhere.invalid/picture.jpg")


def test_a_download_that_breaks_off_is_begun_again(tmp_path: Path) -> None:
    def half(answers: Answers) -> None:
        answers.send_response(200)
        answers.send_header("content-length", "8")
        answers.end_headers()
        answers.wfile.write(b"half")
        answers.hang_up()

    def whole(answers: Answers) -> None:
        answers.text(200, "halfhalf")

    file = tmp_path / "file"
    with Script(half, whole, half, half) as server:
        client = quick(server, retries=1)
        assert client.get_release("a", file) == 8
        assert file.read_bytes() == b"halfhalf"
        with pytest.raises(TransportError):
            client.get_release("a", file)
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"halfhalf"]


def test_an_ended_endpoint_is_warned_of() -> None:
    step = answer(HEALTH, Deprecation="true", Sunset="Wed, 15 Jan 2025 00:00:00 GMT")
    with Script(step) as server, pytest.warns(DeprecationWarning, match="15 Jan 2025") as warned:
        quick(server).get_health()
    assert warned[0].filename == __file__, "where Python shows it: at who has to change"


@pytest.mark.parametrize(
    "arguments",
    [
        {"base_url": "hub:5000"},
        {"base_url": "http://hub?x=1"},
        {"api_key": "k", "username": "u", "password": "p"},
        {"username": "u"},
        {"api_key": "two\nlines"},
        {"retries": -1},
        {"timeout": 0},
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: object) -> None:
    assert isinstance(arguments, dict)
    with pytest.raises(ValueError, match=r"\w"):
        CloudCoreClient(**{"base_url": "http://hub", **arguments})


def test_another_transport_stands_in_for_the_network() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=HEALTH))
    assert CloudCoreClient("http://hub", transport=transport).get_health().status == "healthy"
