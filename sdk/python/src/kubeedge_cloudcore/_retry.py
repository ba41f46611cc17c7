"""When a request is made again, and how long after."""

from __future__ import annotations

import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Mapping, Optional

RETRIED = frozenset({429, 503})
"""Answers that say: not now. What they answer was not done."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently requests are repeated."""

    retries: int = 3
    """Most repeats of one request; 0 turns them off."""
    first_wait: float = 0.5
    """Seconds before the first repeat where the hub names none; each next wait is twice that."""
    max_wait: float = 60.0
    """Longest wait, seconds. A longer ``Retry-After`` ends the request with its error."""

    def backoff(self, attempt: int) -> float:
        """Seconds before repeat number ``attempt``, from 0, with jitter."""
        longest = min(self.max_wait, self.first_wait * 2.0 ** min(attempt, 30))
        return longest * random.uniform(0.5, 1.0)

    def wait(self, attempt: int, retry_after: Optional[float]) -> Optional[float]:
        """Seconds before repeat number ``attempt``; ``None`` where there is none."""
        if attempt >= self.retries:
            return None
        if retry_after is None:
            return self.backoff(attempt)
        if retry_after > self.max_wait:
            return None
        # Those who were refused together should not come back together.
        return retry_after + random.uniform(0, min(0.25, retry_after / 10))


def retry_after(headers: Mapping[str, str]) -> Optional[float]:
    """Seconds that ``Retry-After`` says, as a number or a date; ``None`` without a sound one."""
    text = headers.get("retry-after", "").strip()
    if text.isdigit():
        return float(text)
    try:
        then = parsedate_to_datetime(text)
        # Against the clock of who named the time, where it says so: ours may go wrong.
        now = parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (then - now).total_seconds())
    except (TypeError, ValueError):
        return None
