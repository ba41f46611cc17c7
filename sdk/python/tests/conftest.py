"""One hub and one agent for all stories that do not harm them."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator, List

import pytest
from world import Agent, Hub, eventually

from kubeedge_cloudcore import CloudCoreClient


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The hub, without a limit of requests."""
    hub = Hub(tmp_path_factory.mktemp("hub"), "--rate-limit", "0", "--webhook-allow-private")
    yield hub
    hub.stop()


@pytest.fixture(scope="session")
def client(hub: Hub) -> Iterator[CloudCoreClient]:
    """A client of its admin."""
    with hub.client() as client:
        yield client


@pytest.fixture(scope="session")
def device(
    hub: Hub, client: CloudCoreClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The id of a device with an agent, which is connected."""
    joined = client.join_device("edge-node-1", "cam-1", device_type="camera", location="Entrance")
    agent = Agent(tmp_path_factory.mktemp("agent"), joined.join_command)
    eventually(lambda: client.list_devices(status="Ready", node_name="edge-node-1"))
    yield "cam-1"
    agent.stop()


@pytest.fixture
def start_hub(tmp_path: Path) -> Iterator[Callable[..., Hub]]:
    """Starts hubs that a story has for itself."""
    started: List[Hub] = []

    def start(*arguments: str) -> Hub:
        folder = tmp_path / f"hub-{len(started)}"
        folder.mkdir()
        started.append(Hub(folder, *arguments))
        return started[-1]

    yield start
    for hub in started:
        hub.stop()
