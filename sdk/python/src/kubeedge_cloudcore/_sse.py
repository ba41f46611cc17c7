"""Lines of a stream, and server-sent events from them (WHATWG HTML, 9.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, List, Optional

LONGEST = 1024 * 1024
"""Longest line and longest event, bytes: the hub's are 32 KiB at most."""


class Lines:
    """Cuts bytes into lines at CR, LF or CRLF, and at nothing else: JSON may hold U+2028."""

    def __init__(self) -> None:
        self._rest = b""
        self._after_cr = False

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The lines that are whole with this.

        Raises:
            ValueError: a line is too long.
        """
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk.startswith(b"\n"):
                chunk = chunk[1:]
        if chunk.endswith(b"\r"):
            self._after_cr = True
        lines = (self._rest + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > LONGEST:
            raise ValueError("a line is too long")
        for line in lines:
            yield line.decode("utf-8", "replace")

    def rest(self) -> Optional[str]:
        """What came after the last line's end, where anything did."""
        rest, self._rest = self._rest, b""
        return rest.decode("utf-8", "replace") if rest else None


@dataclass(frozen=True)
class Sent:
    """An event as it was sent."""

    data: str
    id: Optional[str]


class Events:
    """Makes events of lines, and keeps what a client needs to come back."""

    def __init__(self, last_id: Optional[str] = None) -> None:
        self.last_id = last_id
        """What ``Last-Event-ID`` has to say."""
        self.retry: Optional[float] = None
        """Seconds after which the server wants a client back; ``None`` where it names none."""
        self._data: List[str] = []
        self._size = 0
        self._id: Optional[str] = None

    def feed(self, line: str) -> Optional[Sent]:
        """The event that ends with this line, where one does.

        Raises:
            ValueError: an event is too long.
        """
        if not line:
            return self._end()
        name, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "data":
            self._data.append(value)
            self._size += len(value)
            if self._size > LONGEST:
                raise ValueError("an event is too long")
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value) / 1000
        return None

    def _end(self) -> Optional[Sent]:
        data, own = self._data, self._id
        self._data, self._size, self._id = [], 0, None
        if own is not None:
            self.last_id = own
        return Sent("\n".join(data), own) if data else None

    def lost(self) -> None:
        """The connection is gone, and with it the event that was begun."""
        self._data, self._size, self._id = [], 0, None
