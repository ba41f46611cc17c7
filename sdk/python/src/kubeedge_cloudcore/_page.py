"""What a list gives."""

from __future__ import annotations

from typing import Generic, Iterable, List, Optional, TypeVar, Union

T = TypeVar("T")
Cursor = Union[int, str]
"""Where a list goes on: what ``next_cursor`` said, and nothing else."""

LARGEST = 500
"""Most items that the hub gives in one answer."""


class Page(List[T], Generic[T]):
    """A list of what was found, and whether there is more."""

    total: int
    """How many match at the hub, also beyond this page."""
    next_cursor: Optional[Cursor]
    """What to give as ``cursor`` to go on behind this page; ``None`` where it is the last."""

    def __init__(
        self, items: Iterable[T] = (), total: int = 0, next_cursor: Optional[Cursor] = None
    ) -> None:
        super().__init__(items)
        self.total = total
        self.next_cursor = next_cursor
