"""What is generated is as the script writes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from world import ROOT

SCRIPT = Path(__file__).parent.parent / "scripts" / "generate.py"


def test_models_and_the_blocking_client_are_as_generated() -> None:
    pytest.importorskip("ruff")
    if not (ROOT / "docs" / "openapi.json").exists():
        pytest.skip("the document is not in the source distribution")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
