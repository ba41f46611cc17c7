"""Servers that fail as they are told: an HTTP server of a script, and a relay that is cut."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Type


class Asked(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    headers: Dict[str, str]
    body: bytes


class Answers(BaseHTTPRequestHandler):
    """One request's answer; what a script calls."""

    protocol_version = "HTTP/1.1"
    server: Script

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, self.rfile.read(length))
        step = self.server.take(asked)
        if step is None:
            self.json(500, {"message": "the script has ended"})
        else:
            step(self)

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def json(self, status: int, body: Any, **headers: str) -> None:
        """Answers with JSON."""
        self.text(status, json.dumps(body), "application/json", **headers)

    def text(self, status: int, body: str, kind: str = "text/html", **headers: str) -> None:
        """Answers with text."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def stream(self, *parts: bytes) -> None:
        """Answers with these parts, and breaks off."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", "1000000")
        self.end_headers()
        for part in parts:
            self.wfile.write(part)
            self.wfile.flush()
        self.hang_up()

    def hang_up(self) -> None:
        """Breaks off."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


Step = Callable[[Answers], None]


class Script(ThreadingHTTPServer):
    """A real HTTP server that answers request by request as its script says."""

    daemon_threads = True

    def __init__(self, *steps: Step) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: List[Asked] = []
        self._steps = list(steps)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"

    def take(self, asked: Asked) -> Optional[Step]:
        """The step of this request; the last one repeats where it is marked so."""
        with self._lock:
            self.asked.append(asked)
            return self._steps.pop(0) if self._steps else None

    def __enter__(self) -> Script:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


def answer(body: Any, status: int = 200, **headers: str) -> Step:
    """A step that answers with JSON."""
    return lambda answers: answers.json(status, body, **headers)


def problem(status: int, code: str, message: str = "no", **headers: str) -> Step:
    """A step that answers with an error as the hub does."""
    body = {"status": "error", "code": code, "message": message, "details": {"a": 1}}
    return answer({**body, "request_id": "req-1"}, status, **headers)


def hang_up(answers: Answers) -> None:
    """A step that breaks off after it has read the request."""
    answers.hang_up()


class Relay:
    """Passes bytes on to a server until it is cut."""

    def __init__(self, to: str) -> None:
        host, _, port = to.rpartition(":")
        self._to: Tuple[str, int] = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: List[socket.socket] = []
        self._lose: List[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """Breaks all connections off."""
        with self._lock:
            for each in self._open:
                _shut(each)

    def lose_answer_to(self, part: bytes) -> None:
        """The next answer to a request with this in it does not arrive: its connection breaks."""
        with self._lock:
            self._lose.append(part)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._to)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._open += [near, far]
            lost = threading.Event()
            threading.Thread(target=self._pair, args=(near, far, lost), daemon=True).start()

    def _pair(self, near: socket.socket, far: socket.socket, lost: threading.Event) -> None:
        with near, far:
            back = threading.Thread(target=self._back, args=(far, near, lost), daemon=True)
            back.start()
            self._forward(near, far, lost)
            back.join()
            with self._lock:
                self._open = [each for each in self._open if each not in (near, far)]

    def _forward(self, near: socket.socket, far: socket.socket, lost: threading.Event) -> None:
        while True:
            chunk = _receive(near)
            with self._lock:
                for part in [part for part in self._lose if part in chunk]:
                    self._lose.remove(part)
                    lost.set()
            if not chunk or not _send(far, chunk):
                return _shut(far)

    def _back(self, far: socket.socket, near: socket.socket, lost: threading.Event) -> None:
        while True:
            chunk = _receive(far)
            if not chunk or lost.is_set() or not _send(near, chunk):
                _shut(far)
                return _shut(near)

    def __enter__(self) -> Relay:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        _shut(self._listener)
        self._listener.close()
        self.cut()


def _receive(from_: socket.socket) -> bytes:
    try:
        return from_.recv(65536)
    except OSError:
        return b""


def _send(to: socket.socket, chunk: bytes) -> bool:
    try:
        to.sendall(chunk)
        return True
    except OSError:
        return False


def _shut(which: socket.socket) -> None:
    with contextlib.suppress(OSError):
        which.shutdown(socket.SHUT_RDWR)
