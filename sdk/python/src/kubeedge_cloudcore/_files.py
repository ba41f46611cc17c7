"""Files that go to the hub, or come from it."""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Callable, Dict, Iterator, Optional, Tuple, Union

from .errors import CloudCoreError

Progress = Callable[[int, Optional[int]], None]
"""Called with the bytes so far, and how many there are in all where that is known."""


class _Counted:
    """A file that tells how much of it was read."""

    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self._file = file
        self._progress = progress
        self._total = os.fstat(file.fileno()).st_size

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        if chunk:
            self._progress(self._file.tell(), self._total)
        return chunk

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def fileno(self) -> int:
        return self._file.fileno()

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(65536), b"")


@dataclass(frozen=True)
class Upload:
    """Parts of a form, read from their files as they are sent."""

    description: bytes
    model: BinaryIO
    progress: Optional[Progress] = None

    def parts(self) -> Dict[str, Tuple[str, Any, str]]:
        """As ``httpx`` takes them, from the start of the file."""
        self.model.seek(0)
        file: Any = self.model if self.progress is None else _Counted(self.model, self.progress)
        return {
            "description": ("model.json", self.description, "application/json"),
            "model": ("model.onnx", file, "application/octet-stream"),
        }


class Arriving:
    """A file that is there only once it is whole and, where a hash is known, right."""

    def __init__(
        self, file: IO[bytes], total: Optional[int], sha256: Optional[str], progress: Progress
    ) -> None:
        self._file = file
        self._total = total
        self._wanted = sha256.lower() if sha256 is not None else None
        self._progress = progress
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Takes what came."""
        self._file.write(chunk)
        self._hash.update(chunk)
        self.size += len(chunk)
        self._progress(self.size, self._total)

    def check(self) -> None:
        """Raises :class:`CloudCoreError` where the bytes are not those that were wanted."""
        found = self._hash.hexdigest()
        if self._wanted is not None and found != self._wanted:
            raise CloudCoreError(f"the file's SHA-256 is {found}, not {self._wanted}")


@contextmanager
def arriving(
    to: Union[str, Path],
    total: Optional[int],
    sha256: Optional[str],
    progress: Optional[Progress],
) -> Iterator[Arriving]:
    """A file beside ``to`` that takes its place in the end, and leaves nothing where that fails."""
    to = Path(to)
    # Hidden, so that nobody who looks at the folder takes it for the file.
    part = to.with_name(f".{to.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            arrived = Arriving(file, total, sha256, progress or (lambda so_far, total: None))
            yield arrived
        arrived.check()
        part.replace(to)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
