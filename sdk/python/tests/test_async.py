"""The client for asyncio: the same stories where being asynchronous makes a difference."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any, Coroutine, TypeVar

import pytest
from faults import Answers, Script, answer, problem
from test_faults import HEALTH, session
from test_streams import sent, stream
from world import PASSWORD, PATIENCE, Hub

from kubeedge_cloudcore import (
    AsyncCloudCoreClient,
    NotFoundError,
    RequestTimeoutError,
    TransportError,
)
from kubeedge_cloudcore.events import CommandResult, Heartbeat

T = TypeVar("T")


def run(story: Coroutine[Any, Any, T]) -> T:
    """Runs a story to its end, which it has in time."""
    return asyncio.run(asyncio.wait_for(story, PATIENCE))


def admin(hub: Hub) -> AsyncCloudCoreClient:
    return AsyncCloudCoreClient(hub.url, username="admin", password=PASSWORD)


def test_commands_at_once_and_their_results_in_the_stream(
    hub: Hub, device: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with admin(hub) as client:
            events = client.monitor_stream(events=["heartbeat", "command_result"])
            beat = await events.__anext__()
            while not isinstance(beat, Heartbeat):
                beat = await events.__anext__()
            done = await asyncio.gather(
                *(client.run_command(device, "get_status", timeout=60) for _ in range(5)),
                client.run_command(device, "capture_image", timeout=60),
            )
            waiting = {each.command_id for each in done}
            async for event in events:
                if isinstance(event, CommandResult):
                    waiting.discard(event.command_id)
                if not waiting:
                    break
            await events.aclose()
            taken = done[-1].result
            assert taken is not None
            file = tmp_path / "picture"
            size = await client.download_image(taken["image_url"], file)
            assert size == file.stat().st_size
            with pytest.raises(NotFoundError):
                await client.get_device("nobody")
            async with client.follow_device_logs(device, lines=1) as lines:
                assert await lines.__anext__()

    run(story())


def test_tasks_share_one_session() -> None:
    login = answer({"token": session(3600.0), "user": {}})
    with Script(login, *[answer(HEALTH)] * 20) as server:

        async def story() -> None:
            async with AsyncCloudCoreClient(server.url, username="u", password="p") as client:
                await asyncio.gather(*(client.get_health() for _ in range(20)))

        run(story())
        assert [asked.path for asked in server.asked].count("/api/auth/login") == 1


def test_a_stream_resumes() -> None:
    with Script(stream(sent(7)), problem(429, "API-006"), stream(sent(8), sent(9))) as server:

        async def story() -> None:
            async with AsyncCloudCoreClient(server.url, api_key="k") as client:
                seen = []
                async for event in client.monitor_stream():
                    seen.append(event.id)
                    if event.id == 9:
                        break
                assert seen == [7, 8, 9]

        run(story())


def test_a_task_that_is_cancelled_gives_its_connection_back(hub: Hub) -> None:
    async def story() -> None:
        async with admin(hub) as client:
            await client.list_devices()

            async def watch() -> None:
                async for _ in client.monitor_stream(events=["alert"]):
                    pass

            task = asyncio.create_task(watch())
            pool = client._http._transport._pool  # type: ignore[attr-defined]
            while not any(not each.is_idle() for each in pool.connections):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            gc.collect()
            while not all(each.is_idle() or each.is_closed() for each in pool.connections):
                await asyncio.sleep(0)

    run(story())


def test_errors_are_this_package_s() -> None:
    def never(answers: Answers) -> None:
        answers.rfile.read(1)

    with Script(never) as server:

        async def story() -> None:
            async with AsyncCloudCoreClient(server.url, timeout=0.2, retries=0) as client:
                with pytest.raises(RequestTimeoutError):
                    await client.get_health()

        run(story())

    async def nobody() -> None:
        async with AsyncCloudCoreClient(server.url, retries=1, max_wait=0.01) as client:
            with pytest.raises(TransportError):
                await client.get_health()

    run(nobody())
