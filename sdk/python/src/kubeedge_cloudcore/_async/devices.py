"""Devices: joining, looking at them, their pictures and logs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Iterable, Mapping, Optional, Union

import httpx

from .. import _http
from .._files import Progress
from .._page import Cursor, Page
from ..models import (
    Admission,
    BatchJoined,
    DeviceJoined,
    DeviceOverview,
    DevicePicture,
    DeviceSummary,
    Done,
    ListedDetection,
    RemovedDevice,
)
from ..types import DeviceState, JoinDevice, LogLevel, PictureKind
from .base import AsyncBase
from .stream import AsyncStream
from .stream import lines as follow


class AsyncDevices(AsyncBase):
    """What stands at the edge."""

    async def join_device(
        self,
        node_name: str,
        device_id: str,
        *,
        device_type: Optional[str] = None,
        location: Optional[str] = None,
        cloud_ip: Optional[str] = None,
        configuration: Optional[Mapping[str, Any]] = None,
        idempotency_key: Optional[str] = None,
    ) -> DeviceJoined:
        """Make a device known. ``join_command`` of the answer, run on the node, joins it.

        Args:
            node_name: Its node, as Kubernetes names one.
            device_id: Its id.
            device_type: What it is: ``camera``.
            location: Where it is.
            cloud_ip: The host that the join command names; the hub's advertised one otherwise.
            configuration: Anything else, 16 KiB of JSON at most.
            idempotency_key: To repeat this very call later, also from another process.

        Raises:
            ConflictError: there is such a device.
        """
        body = {
            "node_name": node_name,
            "device_id": device_id,
            "device_type": device_type,
            "location": location,
            "cloud_ip": cloud_ip,
            "configuration": configuration,
        }
        return await self._post(
            DeviceJoined, _http.path("device", "join"), body, key=idempotency_key
        )

    async def batch_join_devices(
        self, devices: Iterable[JoinDevice], *, idempotency_key: Optional[str] = None
    ) -> BatchJoined:
        """Join several devices, 10 at most. One that fails does not spoil the others: look at
        ``failed`` and ``results``.
        """
        body = {"devices": list(devices)}
        return await self._post(BatchJoined, _http.path("batch-join"), body, key=idempotency_key)

    async def list_devices(
        self,
        *,
        status: Optional[DeviceState] = None,
        device_type: Optional[str] = None,
        node_name: Optional[str] = None,
        limit: Optional[int] = None,
        cursor: Optional[Cursor] = None,
    ) -> Page[DeviceSummary]:
        """List all devices, or those with this ``status`` (``Ready``, ``NotReady``), type or node.

        With ``limit`` it is so many at most, and ``next_cursor`` of the page goes on behind them.
        """
        query = {"status": status, "device_type": device_type, "node_name": node_name}
        return await self._list(
            DeviceSummary, "devices", _http.path("devices"), limit, cursor, query
        )

    async def get_device(self, device_id: str) -> DeviceOverview:
        """Get a device's details: how it is, its apps, its metrics."""
        return await self._get(DeviceOverview, _http.path("device", device_id))

    async def delete_device(self, device_id: str) -> RemovedDevice:
        """Remove a device. It is cut off at once; ``actions_taken`` says what was done."""
        return await self._delete(RemovedDevice, _http.path("device", device_id))

    async def list_detections(
        self,
        *,
        device_id: Optional[str] = None,
        object: Optional[str] = None,
        limit: Optional[int] = 100,
        cursor: Optional[Cursor] = None,
    ) -> Page[ListedDetection]:
        """List what was detected, newest first: the last 100, or ``limit``; ``None`` is all."""
        query = {"device_id": device_id, "object": object}
        return await self._list(
            ListedDetection, "detections", _http.path("detections"), limit, cursor, query
        )

    async def list_pictures(
        self,
        device_id: str,
        *,
        kind: Optional[PictureKind] = None,
        detection_id: Optional[str] = None,
        limit: Optional[int] = 100,
        cursor: Optional[Cursor] = None,
    ) -> Page[DevicePicture]:
        """List a device's pictures, newest first: the last 100, or ``limit``; ``None`` is all."""
        query = {"kind": kind, "detection_id": detection_id}
        path = _http.path("device", device_id, "pictures")
        return await self._list(DevicePicture, "pictures", path, limit, cursor, query)

    async def get_image(self, image_url: str, *, boxes: Optional[bool] = None) -> bytes:
        """Get a picture by the ``image_url`` of a result, a detection or a list.

        Args:
            image_url: As the hub gave it.
            boxes: Draw the detected objects' boxes into a copy.

        Raises:
            PermissionDeniedError: the link has ended; what it came from has a fresh one.
        """
        return (await self._send(self._image(image_url, boxes))).content

    async def download_image(
        self,
        image_url: str,
        to: Union[str, Path],
        *,
        boxes: Optional[bool] = None,
        progress: Optional[Progress] = None,
    ) -> int:
        """Get a picture into a file, which is there only when it is whole; its size in bytes."""
        return await self._download(self._image(image_url, boxes), to, None, progress)

    async def get_device_logs(
        self,
        device_id: str,
        *,
        lines: Optional[int] = None,
        since: Union[datetime, int, str, None] = None,
        level: Optional[LogLevel] = None,
    ) -> str:
        """Read the log of a device's agent, oldest line first.

        Args:
            device_id: Which device.
            lines: The newest so many, up to 5000; 200 otherwise.
            since: None older than this time, or than so many seconds.
            level: None less urgent than this.

        Raises:
            DeviceUnreachableError: it is not connected.
        """
        query = _log_query(lines, since, level)
        return await self._text(_http.path("device", device_id, "logs"), query=query)

    def follow_device_logs(
        self,
        device_id: str,
        *,
        lines: Optional[int] = None,
        since: Union[datetime, int, str, None] = None,
        level: Optional[LogLevel] = None,
    ) -> AsyncStream[str]:
        """Follow the log of a device's agent, line by line, for up to an hour.

        Takes what :meth:`get_device_logs` takes. The hub's own lines begin with ``--``: the last
        one says why it ends, others where lines were lost.
        """
        request = _http.Request(
            "GET",
            _http.path("device", device_id, "logs"),
            {**_log_query(lines, since, level), "follow": True},
            accept="*/*",
            # A quiet log says nothing, for as long as the hub lets it be followed.
            timeout=httpx.Timeout(30.0, read=3700.0),
        )
        return AsyncStream(follow(self, request))

    async def grant_mqtt_access(
        self, device_id: str, *, idempotency_key: Optional[str] = None
    ) -> Admission:
        """Let a device without an agent in over MQTT. ``password`` is shown this once."""
        path = _http.path("device", device_id, "mqtt")
        return await self._post(Admission, path, key=idempotency_key)

    async def revoke_mqtt_access(self, device_id: str) -> Done:
        """End a device's way in over MQTT."""
        return await self._delete(Done, _http.path("device", device_id, "mqtt"))

    def _image(self, image_url: str, boxes: Optional[bool]) -> _http.Request:
        path, query = _http.image(image_url)
        # Signed for whoever has the link: no credentials go with it.
        return _http.Request(
            "GET", path, {**query, "boxes": boxes}, accept="*/*", authenticated=False
        )


def _log_query(
    lines: Optional[int], since: Union[datetime, int, str, None], level: Optional[LogLevel]
) -> Mapping[str, Any]:
    return {"lines": lines, "since": _http.moment(since), "level": level}
