"""The event stream: over lost connections, from a real hub and from servers that break off."""

from __future__ import annotations

import gc
import json
from typing import Callable, Dict, List

import pytest
from faults import Relay, Script, Step, hang_up, problem
from fits import assert_fits
from world import PASSWORD, Hub, beside, eventually, within

from kubeedge_cloudcore import (
    AuthenticationError,
    CloudCoreClient,
    InvalidRequestError,
    ServiceUnavailableError,
    TransportError,
)
from kubeedge_cloudcore.events import CommandResult, CommandSentEvent, Event, Heartbeat, Lagged


def sent(ident: int, **fields: object) -> bytes:
    """An event as the hub sends it; a retry at once."""
    body = {"timestamp": "2024-01-15T10:30:00Z", "event": "heartbeat", "node_name": "n", **fields}
    return f"retry: 1\nid: {ident}\ndata: {json.dumps(body)}\n\n".encode()


def stream(*parts: bytes) -> Step:
    """A step that sends these, and breaks off."""
    return lambda answers: answers.stream(*parts)


def test_events_come_as_they_happen(client: CloudCoreClient, device: str) -> None:
    with client.monitor_stream(events=["heartbeat"], device_id=device) as events:
        beat = within(lambda: next(events))
    assert isinstance(beat, Heartbeat)
    assert (beat["event"], beat.node_name, beat.device_id) == ("heartbeat", "edge-node-1", device)
    assert beat.timestamp.tzinfo is not None
    assert isinstance(beat.id, int)
    assert_fits(beat)


def test_every_event_has_what_its_class_says(client: CloudCoreClient, device: str) -> None:
    seen: Dict[str, Event] = {}
    with client.monitor_stream(device_id=device, events=["command_sent", "command_result"]) as all_:
        arriving = beside(lambda: [next(all_) for _ in range(2)])

        def both() -> bool:
            client.run_command(device, "get_status", timeout=60)
            return arriving.done()

        eventually(both)
        seen.update((event.event, event) for event in arriving.result())
    assert {type(event) for event in seen.values()} == {CommandSentEvent, CommandResult}
    for event in seen.values():
        assert_fits(event)


def test_a_kind_that_does_not_exist_is_refused_at_once(client: CloudCoreClient) -> None:
    with pytest.raises(InvalidRequestError, match="no event"):
        next(client.monitor_stream(events=["nothing"]))  # type: ignore[list-item]


def test_what_happened_while_the_line_was_cut_comes_afterwards(
    hub: Hub, client: CloudCoreClient
) -> None:
    client.join_device("cut-node", "cut")
    with Relay(hub.ready["http"]) as relay:
        watcher = CloudCoreClient(relay.url, username="admin", password=PASSWORD)
        events = watcher.monitor_stream(events=["command_sent"], device_id="cut")
        ids: List[str] = []
        arriving = beside(lambda: next(events))

        def seen() -> bool:
            # The first ones may come before the stream is open.
            ids.append(client.send_command("cut", "get_status", timeout=60).command_id)
            return arriving.done()

        eventually(seen)
        relay.cut()
        ids += [client.send_command("cut", "get_status").command_id for _ in range(3)]
        first = arriving.result()
        assert isinstance(first, CommandSentEvent)
        wanted = ids[ids.index(first.command_id) + 1 :]
        later = [within(lambda: next(events)) for _ in wanted]
        assert [each["command_id"] for each in later] == wanted, "none twice, none lost"
        events.close()
        assert list(events) == []
        watcher.close()


def test_a_hub_that_restarts_is_found_again(start_hub: Callable[..., Hub]) -> None:
    hub = start_hub("--rate-limit", "0")
    with hub.client() as client:
        client.join_device("n", "d")
        last = client.send_command("d", "get_status")
        # From before the first event of this hub: so one is there at once.
        events = client.monitor_stream(last_event_id=0)
        assert isinstance(within(lambda: next(events)), Lagged)
        assert within(lambda: next(events))["command_id"] == last.command_id
        address = hub.ready["http"]
        hub.stop()
        hub.start(address)
        sent = client.send_command("d", "get_status")
        following = within(lambda: next(e for e in events if not isinstance(e, Lagged)))
        assert following["command_id"] == sent.command_id
        events.close()


def test_a_stream_goes_on_behind_the_last_whole_event() -> None:
    half = sent(8)[:-1]
    with (
        Script(
            stream(b": open\n\n", sent(7), half),
            problem(503, "API-009"),
            hang_up,
            stream(sent(8), sent(9, event="of_a_newer_hub")),
            problem(401, "API-002"),
        ) as server,
        CloudCoreClient(server.url, api_key="k") as client,
    ):
        events = client.monitor_stream()
        assert [within(lambda: next(events)).id for _ in range(3)] == [7, 8, 9]
        with pytest.raises(AuthenticationError):
            within(lambda: next(events))
        resumed = [asked.headers.get("last-event-id") for asked in server.asked]
        assert resumed == [None, "7", "7", "7", "9"]
        assert {asked.headers["accept"] for asked in server.asked} == {"text/event-stream"}


def test_a_stream_gives_up_in_the_end() -> None:
    with (
        Script(stream(sent(7)), *[problem(503, "API-009")] * 3) as server,
        CloudCoreClient(server.url, api_key="k") as client,
    ):
        events = client.monitor_stream(give_up_after=0.0)
        next(events)
        with pytest.raises(ServiceUnavailableError):
            within(lambda: next(events))


def test_a_stream_without_reconnection_says_that_it_broke() -> None:
    with (
        Script(stream(sent(7))) as server,
        CloudCoreClient(server.url, api_key="k") as client,
    ):
        events = client.monitor_stream(reconnect=False)
        assert next(events).id == 7
        with pytest.raises(TransportError):
            next(events)


def test_leaving_the_loop_closes_the_connection(client: CloudCoreClient, device: str) -> None:
    for _ in client.monitor_stream(device_id=device):
        break
    gc.collect()
    pool = client._http._transport._pool  # type: ignore[attr-defined]
    assert all(each.is_idle() or each.is_closed() for each in pool.connections)
