"""The contract's example, and the blocks of README and guide, run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest
from world import PASSWORD, PATIENCE, ROOT, Hub, beside, end, eventually

import kubeedge_cloudcore
from kubeedge_cloudcore import CloudCoreClient

SDK = Path(__file__).resolve().parent.parent
# The package that these tests see, in a program of its own.
WITH_PACKAGE = {**os.environ, "PYTHONPATH": str(Path(kubeedge_cloudcore.__file__).parents[1])}
CONTRACT = ROOT / "tests" / "contract" / "cloudcore-api.md"


def example() -> str:
    """The contract's, whose page has lost its code fences."""
    page = CONTRACT.read_text(encoding="utf-8")
    found = re.search(r"^from kubeedge_cloudcore .*?(?=^🌐)", page, re.DOTALL | re.MULTILINE)
    assert found
    return found[0]


@pytest.mark.skipif(not CONTRACT.exists(), reason="the page is not in the source distribution")
def test_the_contract_s_example_runs_as_written(
    start_hub: Callable[..., Hub], tmp_path: Path
) -> None:
    hub = start_hub("--rate-limit", "0")
    with hub.client() as client:
        key = client.create_api_key("example", role="operator").api_key
        script = tmp_path / "example.py"
        text = example().replace("http://3.70.53.21:5000", hub.url).replace("your-api-key", key)
        script.write_text(text, encoding="utf-8")
        # What the wheel is tried with, where `make test-sdk` names one.
        python = os.environ.get("CLOUDCORE_SDK_PYTHON")
        running = subprocess.Popen(
            [python or sys.executable, "-u", str(script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=dict(os.environ) if python else WITH_PACKAGE,
        )
        assert running.stdout is not None
        lines = iter(running.stdout.readline, "")
        try:
            assert beside(lambda: next(lines)).result(PATIENCE) == "Total devices: 0\n"
            assert beside(lambda: next(lines)).result(PATIENCE).startswith("Join command: keadm ")
            said = beside(lambda: next(lines)).result(PATIENCE)
            assert re.fullmatch(r"Command ID: cmd_\w{26}\n", said), said
            event = beside(lambda: next(lines))

            def seen() -> bool:
                # The first may come before the example watches.
                client.send_command("camera-001", "get_status")
                return event.done()

            eventually(seen)
            assert event.result() == "Event: command_sent from edge-node-001\n"
        finally:
            end(running)


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md"])
def test_the_blocks_of_a_page_run(
    page: str, hub: Hub, client: CloudCoreClient, device: str, tmp_path: Path
) -> None:
    assert device == "cam-1"
    key = client.create_api_key(page, role="operator").api_key
    blocks = re.findall(
        r"^```python\n(.*?)^```$", (SDK / page).read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert len(blocks) > 4
    text = "\n".join(blocks)
    for written, here in {
        "https://hub.example:5443": hub.https,
        "ck_…": key,
        "the admin's password": PASSWORD,
    }.items():
        assert written in text or page == "README.md"
        text = text.replace(written, here)
    (tmp_path / "page.py").write_text(text, encoding="utf-8")
    (tmp_path / "ca.pem").write_bytes((hub.data / "ca.pem").read_bytes())
    (tmp_path / "token").write_text(key)
    done = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env=WITH_PACKAGE,
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if page == "README.md":
        client.delete_device("gate-camera")
