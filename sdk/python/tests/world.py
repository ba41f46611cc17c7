"""Real hubs and agents, and the waiting for them. Nothing here waits without an end."""

from __future__ import annotations

import json
import os
import shlex
import signal
import struct
import subprocess
import time
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, TypeVar

from kubeedge_cloudcore import CloudCoreClient

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[3]
BIN = Path(os.environ.get("CLOUDCORE_BIN") or ROOT / "target" / "debug")
PASSWORD = "a password of these tests"
PATIENCE = 60.0
"""Seconds after which something that should have come is missed: for a loaded machine."""


def beside(do: Callable[[], T]) -> Future[T]:
    """Begins this, in a thread of its own."""
    thread = ThreadPoolExecutor(1)
    begun = thread.submit(do)
    thread.shutdown(wait=False)
    return begun


def within(do: Callable[[], T], seconds: float = PATIENCE) -> T:
    """What this gives, which has so many seconds for it."""
    return beside(do).result(seconds)


def eventually(look: Callable[[], Optional[T]], seconds: float = PATIENCE) -> T:
    """What this gives once it gives something."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


class Hub:
    """A hub in a folder of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.data = folder / "hub"
        self._arguments = arguments
        self._process: Optional[subprocess.Popen[str]] = None
        self.ready: Dict[str, Any] = {}
        self.start()

    def start(self, http: str = "127.0.0.1:0") -> None:
        """Starts it, with what its folder holds."""
        command = [str(BIN / "cloudcore-hub"), "serve", "--data-dir", str(self.data)]
        for listener in ("https", "quic", "mqtt"):
            command += [f"--{listener}", "127.0.0.1:0"]
        with (self.folder / "hub.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--http", http, *self._arguments],
                env={**os.environ, "CLOUDCORE_ADMIN_PASSWORD": PASSWORD},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        stdout = self._process.stdout
        assert stdout is not None
        try:
            line = within(stdout.readline)
            assert line, (self.folder / "hub.log").read_text()[-3000:]
        except BaseException:
            self.stop()
            raise
        self.ready = json.loads(line)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.ready['http']}"

    @property
    def https(self) -> str:
        """Where it is, by TLS."""
        return f"https://{self.ready['https']}"

    def client(self, **arguments: Any) -> CloudCoreClient:
        """A client of its admin."""
        return CloudCoreClient(self.url, username="admin", password=PASSWORD, **arguments)

    def stop(self) -> None:
        """Ends it, in order."""
        if self._process is not None:
            end(self._process)
            self._process = None


class Agent:
    """An agent that has joined, and runs."""

    def __init__(self, folder: Path, join_command: str) -> None:
        pictures = folder / "pictures"
        pictures.mkdir()
        (pictures / "grey.png").write_bytes(picture(64, 48))
        data, program = folder / "agent", str(BIN / "cloudcore-agent")
        settings = ["--no-service", "--camera", f"file://{pictures}?fps=5"]
        settings += ["--heartbeat-interval", "1"]
        joined = subprocess.run(
            # `keadm join …` as printed, on a node that has no service.
            [
                program,
                *shlex.split(join_command)[1:],
                "--data-dir",
                str(data),
                "--no-service",
                "--camera",
                f"file://{pictures}?fps=5",
                "--heartbeat-interval",
                "1",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert joined.returncode == 0, joined.stderr
        with (folder / "agent.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "run", "--data-dir", str(data)], stdout=log, stderr=log, text=True
            )

    def stop(self) -> None:
        """Ends it, in order."""
        end(self._process)


def end(process: subprocess.Popen[str]) -> None:
    """Asks a program to end, and makes it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def picture(width: int, height: int) -> bytes:
    """A grey PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    rows: List[bytes] = [b"\0" + b"\x80\x80\x80" * width for _ in range(height)]
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(b"".join(rows))),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
