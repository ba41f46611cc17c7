"""Streams of the hub: events, which resume, and the lines of a log."""

from __future__ import annotations

import logging
import time
from typing import Any, AsyncGenerator, Generic, Optional, TypeVar

import httpx

from .. import _http, _sse, events
from .._retry import RetryPolicy
from ..errors import ApiError, TransportError
from ._io import sleep
from .base import AsyncBase

T = TypeVar("T")
Self = TypeVar("Self", bound="AsyncStream[Any]")
log = logging.getLogger("kubeedge_cloudcore")

SILENCE = 45.0
"""Seconds without a byte after which a stream is lost: the hub says something every 15."""
_ONE_TRY = RetryPolicy(retries=0)


class AsyncStream(Generic[T]):
    """What comes from the hub as it happens.

    Go over it, and leave the loop whenever you like. It is a context manager: used as one, its
    connection is closed at the end of the block, and otherwise when nobody holds it any more.
    """

    def __init__(self, source: AsyncGenerator[T, None]) -> None:
        self._source = source

    def __aiter__(self: Self) -> Self:
        return self

    async def __anext__(self) -> T:
        return await self._source.__anext__()

    async def aclose(self) -> None:
        """Ends the stream and closes its connection; the loop over it ends too."""
        await self._source.aclose()

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


async def watch(
    base: AsyncBase,
    request: _http.Request,
    last_event_id: Optional[int],
    reconnect: bool,
    give_up_after: Optional[float],
) -> AsyncGenerator[events.Event, None]:
    """Events, over as many connections as it takes.

    The first connection is made like any request, and its failure is an error at once; a
    connection that is lost later is made again until the hub refuses or ``give_up_after`` is over.
    """
    read = _sse.Events(None if last_event_id is None else str(last_event_id))
    policy: Optional[RetryPolicy] = None
    lost_at, attempt = time.monotonic(), 0
    while True:
        problem = "the hub ended the stream"
        try:
            response = await base._open(_resumed(request, read.last_id), policy)
        except (ApiError, TransportError) as error:
            if policy is None or not _may_pass(error):
                raise
            if give_up_after is not None and time.monotonic() - lost_at >= give_up_after:
                raise
            problem = str(error)
        else:
            cut, policy = _sse.Lines(), _ONE_TRY
            try:
                async for chunk in response.aiter_bytes():
                    attempt = 0
                    for line in cut.feed(chunk):
                        sent = read.feed(line)
                        event = events.parse(sent.data, sent.id) if sent else None
                        if event is not None:
                            yield event
                if not reconnect:
                    return
            except (httpx.HTTPError, ValueError) as error:
                problem = str(error) or type(error).__name__
            finally:
                await response.aclose()
            read.lost()
            lost_at = time.monotonic()
            if not reconnect:
                raise TransportError(f"{request.method} {request.path}: {problem}")
        wait = RetryPolicy(first_wait=read.retry or 0.5, max_wait=15.0).backoff(attempt)
        attempt += 1
        log.info("the event stream is lost, again in %.1f s: %s", wait, problem)
        await sleep(wait)


async def lines(base: AsyncBase, request: _http.Request) -> AsyncGenerator[str, None]:
    """Lines as they are written, until the hub ends them."""
    response = await base._open(request)
    found = _sse.Lines()
    try:
        with _http.transport_errors(request.method, request.path):
            async for chunk in response.aiter_bytes():
                for line in found.feed(chunk):
                    yield line
        rest = found.rest()
        if rest is not None:
            yield rest
    finally:
        await response.aclose()


def _resumed(request: _http.Request, last_id: Optional[str]) -> _http.Request:
    headers = {"cache-control": "no-cache"}
    if last_id is not None:
        headers["last-event-id"] = last_id
    return _http.Request(
        request.method,
        request.path,
        request.query,
        accept=request.accept,
        headers=headers,
        timeout=request.timeout,
    )


def _may_pass(error: Exception) -> bool:
    return not isinstance(error, ApiError) or error.status == 429 or error.status >= 500
