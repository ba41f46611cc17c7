"""What of the async client has no counterpart of the same name."""

from __future__ import annotations

import asyncio

sleep = asyncio.sleep


class Lock:
    """Made where it is first needed: Python 3.9 binds an asyncio lock to the loop of its maker."""

    def __init__(self) -> None:
        self._lock: asyncio.Lock | None = None

    async def __aenter__(self) -> None:
        if self._lock is None:
            self._lock = asyncio.Lock()
        await self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()
