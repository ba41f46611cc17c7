"""How answers are read: whatever the hub adds or leaves out."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import datetime, timezone

import pytest

from kubeedge_cloudcore import NotFoundError, Page, events, models
from kubeedge_cloudcore._model import time
from kubeedge_cloudcore._sse import Events, Lines

DEVICE = {
    "device_id": "cam-1",
    "node_name": "edge-1",
    "device_status": {"online": True, "last_heartbeat": "2024-01-15T10:29:45Z", "cpu_percent": 45},
    "applications": [{"name": "app", "image": "i", "status": "Napping", "port": None}],
    "configuration": {"camera": "x"},
    "of_a_newer_hub": {"a": 1},
}


def test_documented_keys_are_attributes_with_their_types() -> None:
    device = models.DeviceOverview(DEVICE)
    assert device.device_id == "cam-1"
    assert device.device_status.last_heartbeat == datetime(
        2024, 1, 15, 10, 29, 45, tzinfo=timezone.utc
    )
    assert isinstance(device.applications[0], models.Application)
    assert device.applications[0].status == "Napping"
    assert device.configuration == {"camera": "x"}


def test_items_are_the_json_as_it_came() -> None:
    device = models.DeviceOverview(DEVICE)
    assert device["device_status"]["last_heartbeat"] == "2024-01-15T10:29:45Z"
    assert device["of_a_newer_hub"] == {"a": 1}
    assert json.loads(json.dumps(device)) == DEVICE


def test_what_may_be_null_may_be_missing() -> None:
    device = models.DeviceOverview(DEVICE)
    assert device.location is None
    assert device["location"] is None
    assert device.applications[0].port is None
    with pytest.raises(AttributeError, match="no 'metrics'"):
        _ = device.metrics
    with pytest.raises(KeyError):
        device["nothing"]
    with pytest.raises(AttributeError, match="no field"):
        _ = device.locations  # type: ignore[attr-defined]


def test_another_form_than_documented_breaks_nothing_that_is_not_asked_for() -> None:
    device = models.DeviceOverview({"device_status": "?", "metrics": None, "device_id": 7})
    assert device.metrics is None
    assert device["device_status"] == "?"
    assert repr(device)


def test_models_are_copied_and_pickled() -> None:
    device = models.DeviceOverview(DEVICE)
    for twin in (copy.deepcopy(device), pickle.loads(pickle.dumps(device))):
        assert twin == device
        assert type(twin) is models.DeviceOverview
    assert "device_status" in dir(device)
    error = NotFoundError("no", status=404, code="API-004", request_id="r", details={"a": 1})
    twin_error = pickle.loads(pickle.dumps(error))
    assert (str(twin_error), twin_error.details) == (str(error), {"a": 1})


def test_no_repr_shows_what_opens_something() -> None:
    secrets = {
        "token": "s3cret",
        "join_command": "keadm join --token=s3cret",
        "deeper": [{"password": "s3cret"}, {"image_url": "http://h/x?expires=1&signature=s3cret"}],
    }
    shown = repr(models.GeneratedToken(secrets)) + repr(Page([models.CreatedKey(api_key="s3cret")]))
    assert "s3cret" not in shown
    assert "expires=1" in shown


@pytest.mark.parametrize("text", ["2024-01-15T10:30:00Z", "2024-01-15T10:30:00.1234567+00:00"])
def test_times_of_rfc_3339_are_read(text: str) -> None:
    assert time(text).replace(microsecond=0) == datetime(2024, 1, 15, 10, 30, tzinfo=timezone.utc)


def test_lines_end_at_cr_and_lf_wherever_chunks_do() -> None:
    text = "a\r\nb\u2028\u0085c\rd\n\n\rend".encode()
    for size in range(1, len(text)):
        lines = Lines()
        found = [
            line
            for start in range(0, len(text), size)
            for line in lines.feed(text[start : start + size])
        ]
        assert [*found, lines.rest()] == ["a", "b\u2028\u0085c", "d", "", "", "end"]


def test_a_line_without_end_is_refused() -> None:
    lines = Lines()
    assert list(lines.feed(b"x" * 1_000_000)) == []
    with pytest.raises(ValueError, match="too long"):
        list(lines.feed(b"x" * 100_000))


def test_events_are_read_as_whatwg_says() -> None:
    read = Events()
    lines = [": a comment", "retry: 250", "id: 7", "data: 1", "data:2", "", "event: x", ""]
    sent = [event for event in map(read.feed, [*lines, "data: 3", "id: 8"]) if event]
    assert [(event.data, event.id) for event in sent] == [("1\n2", "7")]
    assert (read.last_id, read.retry) == ("7", 0.25)
    read.lost()
    assert read.feed("") is None
    assert read.last_id == "7", "an event that was not whole was not seen"


def test_events_have_the_class_of_their_kind() -> None:
    event = events.parse('{"event": "lagged", "timestamp": "2024-01-15T10:30:00Z"}', None)
    assert isinstance(event, events.Lagged)
    assert (event["node_name"], event.missed, event.id) == (None, None, None)
    later = events.parse('{"event": "of_a_newer_hub", "x": 1}', "12")
    assert type(later) is events.Event
    assert (later.id, later["x"]) == (12, 1)
    assert events.parse("no JSON", None) is None
    assert events.parse("[]", None) is None
