"""Commands and tests.

Made by scripts/generate.py: do not edit.
"""

from __future__ import annotations

import time
from typing import Any, Iterable, Mapping, Optional

from .. import _http
from .._page import Cursor, Page
from ..errors import CommandFailedError, WaitTimeoutError
from ..models import CommandSent, CommandStatus, Done, TestReport, TestStarted
from ..types import CommandState, ConnectionTest
from ._io import sleep
from .base import Base

OPEN = frozenset({"queued", "sent", "running"})
"""States of a command that has not ended."""
FIRST_LOOK, LONGEST_LOOK = 0.1, 2.0
"""Seconds between looks at a command: few enough for the hub's limit of requests a minute."""
MARGIN = 30.0
"""Seconds that the hub has, beyond a command's deadline, to say how it ended."""
TEST_LIFE = 120.0
"""Seconds that tests of a connection have, where nobody says otherwise."""


class Commands(Base):
    """What devices are told to do."""

    def send_command(
        self,
        device_id: str,
        command: str,
        parameters: Optional[Mapping[str, Any]] = None,
        *,
        timeout: Optional[int] = None,
        queue: Optional[bool] = None,
        idempotency_key: Optional[str] = None,
    ) -> CommandSent:
        """Send a command. That it was accepted is all that this says; :meth:`wait_for_command`
        says what came of it.

        Args:
            device_id: Which device.
            command: ``capture_image``, ``get_status``, ``start_detection``, …
            parameters: What the command is told.
            timeout: Seconds that it has from now on, 30 otherwise. A device that is away gets it
                when it comes back in time.
            queue: ``False`` refuses it at once for a device that is away.
            idempotency_key: To repeat this very call later, also from another process.

        Raises:
            NotFoundError: there is no such device.
            DeviceUnreachableError: it is away, with ``queue=False``.
        """
        return self._post(
            CommandSent,
            _http.path("device", device_id, "command"),
            {"command": command, "parameters": parameters, "timeout": timeout},
            query={"queue": queue},
            key=idempotency_key,
        )

    def run_command(
        self,
        device_id: str,
        command: str,
        parameters: Optional[Mapping[str, Any]] = None,
        *,
        timeout: Optional[int] = None,
        queue: Optional[bool] = None,
    ) -> CommandStatus:
        """Send a command, wait for its end, and give its status with the ``result``.

        Takes what :meth:`send_command` takes.

        Raises:
            CommandFailedError: it ended otherwise than ``completed``.
        """
        sent = self.send_command(device_id, command, parameters, timeout=timeout, queue=queue)
        return self.wait_for_command(sent.command_id, check=True)

    def get_command_status(self, command_id: str) -> CommandStatus:
        """Check how a command stands, and what came of it."""
        return self._get(CommandStatus, _http.path("command", command_id, "status"))

    def wait_for_command(
        self, command_id: str, *, timeout: Optional[float] = None, check: bool = False
    ) -> CommandStatus:
        """Wait for a command's end: ``completed``, ``failed``, ``timed_out``, ``cancelled`` or
        ``expired``.

        Args:
            command_id: Which command.
            timeout: Seconds to wait; up to its deadline, and a little longer, otherwise.
            check: Whether another end than ``completed`` is an error.

        Raises:
            WaitTimeoutError: it has not ended in this time, and goes on.
            CommandFailedError: it ended otherwise than ``completed``, with ``check``.
        """
        start, pause = time.monotonic(), FIRST_LOOK
        while True:
            status = self.get_command_status(command_id)
            if status.status not in OPEN:
                if check and status.status != "completed":
                    raise CommandFailedError(status)
                return status
            if timeout is None:
                # By the hub's clock alone: ours may go wrong.
                timeout = (status.deadline - status.sent_at).total_seconds() + MARGIN
            rest = timeout - (time.monotonic() - start)
            if rest <= 0:
                raise WaitTimeoutError(
                    f"command {command_id} is {status.status} after {timeout:g} s"
                )
            sleep(min(pause, rest))
            pause = min(LONGEST_LOOK, pause * 1.6)

    def list_commands(
        self,
        *,
        device_id: Optional[str] = None,
        status: Optional[CommandState] = None,
        command: Optional[str] = None,
        limit: Optional[int] = 100,
        cursor: Optional[Cursor] = None,
    ) -> Page[CommandStatus]:
        """List commands, newest first: the last 100, or ``limit``; ``None`` is all."""
        query = {"device_id": device_id, "status": status, "command": command}
        path = _http.path("commands")
        return self._list(CommandStatus, "commands", path, limit, cursor, query)

    def cancel_command(self, command_id: str) -> Done:
        """Cancel a command.

        Raises:
            ConflictError: it has ended.
        """
        return self._delete(Done, _http.path("command", command_id))

    def test_connection(
        self,
        device_id: str,
        tests: Iterable[ConnectionTest],
        *,
        ports: Optional[Iterable[int]] = None,
        idempotency_key: Optional[str] = None,
    ) -> TestStarted:
        """Begin to test the connection to a device; :meth:`wait_for_test` says how it went.

        Args:
            device_id: Which device.
            tests: ``ping``, ``port_check``, ``camera_test``; none twice.
            ports: TCP ports of the device that have to be open.
            idempotency_key: To repeat this very call later, also from another process.
        """
        body = {
            "device_id": device_id,
            "tests": list(tests),
            "ports": None if ports is None else list(ports),
        }
        path = _http.path("test", "connection")
        return self._post(TestStarted, path, body, key=idempotency_key)

    def get_test_results(self, test_id: str) -> TestReport:
        """Get what came of tests so far."""
        return self._get(TestReport, _http.path("test", "results", test_id))

    def wait_for_test(self, test_id: str, *, timeout: float = TEST_LIFE) -> TestReport:
        """Wait until tests have ended, for ``timeout`` seconds.

        Raises:
            WaitTimeoutError: they have not ended in this time.
        """
        start, pause = time.monotonic(), FIRST_LOOK
        while True:
            report = self.get_test_results(test_id)
            if report.status != "running":
                return report
            rest = timeout - (time.monotonic() - start)
            if rest <= 0:
                raise WaitTimeoutError(f"test {test_id} still runs after {timeout:g} s")
            sleep(min(pause, rest))
            pause = min(LONGEST_LOOK, pause * 1.6)
