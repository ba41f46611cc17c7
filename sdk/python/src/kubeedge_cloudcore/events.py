"""What :meth:`~kubeedge_cloudcore.CloudCoreClient.monitor_stream` gives.

Each event is the JSON object as it was sent, so ``event["event"]`` works, and has its keys as
attributes. The class says which kind it is; a kind that this version does not know is an
:class:`Event`.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Dict, List, Mapping, Optional, Type

from ._model import Model

__all__ = [
    "Event",
    "NodeJoined",
    "NodeLeft",
    "Heartbeat",
    "DetectionEvent",
    "CommandSentEvent",
    "CommandResult",
    "AlertEvent",
    "Lagged",
]


class Event(Model):
    """Something that happened."""

    event: str
    """What it was: ``node_joined``, ``heartbeat``, ``detection``, …"""
    timestamp: datetime
    """When the hub told it."""
    node_name: Optional[str]
    """The device's node; ``None`` where it concerns none."""
    device_id: Optional[str]
    """Its device; ``None`` where it concerns none."""
    truncated: Optional[bool]
    """Whether large values were left out, being null here: the API has the whole."""

    _id: Optional[int] = None

    @property
    def id(self) -> Optional[int]:
        """What ``last_event_id`` takes to go on behind it; ``None`` for a notice of the stream."""
        return self._id


class NodeJoined(Event):
    """``node_joined``: a device is connected."""

    status: str
    """``Ready``."""


class NodeLeft(Event):
    """``node_left``: a device is not connected any more."""

    status: str
    """``NotReady``."""
    reason: str
    """Why, for people."""


class Heartbeat(Event):
    """``heartbeat``: how a device is."""

    cpu: Optional[str]
    """Load as text: ``45%``."""
    memory: Optional[str]
    """Used memory as text: ``2.3GB``."""
    cpu_percent: Optional[float]
    """Load, percent."""
    memory_used_bytes: Optional[int]
    """Used memory, bytes."""
    memory_total_bytes: Optional[int]
    """All memory, bytes."""
    temperature_celsius: Optional[float]
    """Temperature, degrees Celsius."""
    disk_used_bytes: Optional[int]
    """Used disk, bytes."""
    disk_total_bytes: Optional[int]
    """All disk, bytes."""
    uptime_seconds: Optional[int]
    """Since it was started, seconds."""
    camera: Optional[str]
    """Its camera."""
    detecting: Optional[bool]
    """Whether it looks for objects."""


class DetectionEvent(Event):
    """``detection``: an object came or went."""

    object: str
    """What it is: ``person``."""
    confidence: str
    """How sure the model is, as text: ``0.95``."""
    score: float
    """The same, 0 to 1."""
    phase: str
    """``started`` or ``ended``."""
    detection_id: Optional[str]
    """The same for its start and its end."""
    image_url: Optional[str]
    """A link to its best picture, for an hour: what ``download_image`` takes."""
    bounding_box: Optional[Dict[str, Any]]
    """Where in the frame, pixels."""
    frame_width: Optional[int]
    """Width of the frame, pixels."""
    frame_height: Optional[int]
    """Height of the frame, pixels."""
    track_id: Optional[int]
    """Its number at the device."""
    model: Optional[str]
    """The model that found it."""
    captured_at: Optional[datetime]
    """When, by the device's clock."""
    zones: List[str]
    """The zones that it was in."""


class CommandSentEvent(Event):
    """``command_sent``: a command was accepted."""

    command_id: str
    """Its id."""
    command: str
    """Its name."""


class CommandResult(Event):
    """``command_result``: a command ended."""

    command_id: str
    """Its id."""
    command: str
    """Its name."""
    status: str
    """How: ``completed``, ``failed``, ``timed_out``, ``cancelled`` or ``expired``."""
    result: Optional[Dict[str, Any]]
    """What came of it."""


class AlertEvent(Event):
    """``alert``: something that an operator should know began or ended."""

    type: str
    """A term: ``camera_lost``."""
    level: str
    """``critical``, ``warning``, or ``info`` where it ends."""
    message: str
    """For people."""
    active: bool
    """Whether it begins."""


class Lagged(Event):
    """``lagged``: events were lost to this client, which was away or read too slowly."""

    missed: Optional[int]
    """How many, of all kinds; ``None`` where their number is not known."""


KINDS: Mapping[str, Type[Event]] = {
    "node_joined": NodeJoined,
    "node_left": NodeLeft,
    "heartbeat": Heartbeat,
    "detection": DetectionEvent,
    "command_sent": CommandSentEvent,
    "command_result": CommandResult,
    "alert": AlertEvent,
    "lagged": Lagged,
}


def parse(data: str, ident: Optional[str]) -> Optional[Event]:
    """The event of this data; ``None`` where it is no JSON object."""
    try:
        sent = json.loads(data)
    except ValueError:
        return None
    if not isinstance(sent, dict):
        return None
    name = sent.get("event")
    event = KINDS.get(name, Event)(sent) if isinstance(name, str) else Event(sent)
    event._id = int(ident) if ident is not None and ident.isascii() and ident.isdigit() else None
    return event
