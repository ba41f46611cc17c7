"""Python client of CloudCore Edge.

::

    from kubeedge_cloudcore import CloudCoreClient

    with CloudCoreClient("https://hub.example:5443", api_key="ck_…") as client:
        for device in client.list_devices():
            print(device.device_id, device.status)

:class:`CloudCoreClient` blocks, :class:`AsyncCloudCoreClient` is for asyncio; both have the same
methods. Answers are in :mod:`~kubeedge_cloudcore.models`, events of the stream in
:mod:`~kubeedge_cloudcore.events`, errors in :mod:`~kubeedge_cloudcore.errors`, and types of what
methods take in :mod:`~kubeedge_cloudcore.types`.
"""

from __future__ import annotations

from . import errors, events, models, types
from ._async.client import AsyncCloudCoreClient
from ._async.stream import AsyncStream
from ._page import Page
from ._sync.client import CloudCoreClient
from ._sync.stream import Stream
from ._version import VERSION as __version__
from .errors import (
    ApiError,
    AuthenticationError,
    CloudCoreError,
    CommandFailedError,
    ConflictError,
    DeviceUnreachableError,
    InternalServerError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ServiceUnavailableError,
    TransportError,
    WaitTimeoutError,
)

__all__ = [
    "CloudCoreClient",
    "AsyncCloudCoreClient",
    "Page",
    "Stream",
    "AsyncStream",
    "CloudCoreError",
    "ApiError",
    "InvalidRequestError",
    "AuthenticationError",
    "PermissionDeniedError",
    "NotFoundError",
    "ConflictError",
    "RateLimitError",
    "InternalServerError",
    "DeviceUnreachableError",
    "ServiceUnavailableError",
    "TransportError",
    "RequestTimeoutError",
    "WaitTimeoutError",
    "CommandFailedError",
    "errors",
    "events",
    "models",
    "types",
    "__version__",
]
