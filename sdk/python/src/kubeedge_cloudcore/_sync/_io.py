"""What of the client that blocks has no counterpart of the same name."""

from __future__ import annotations

import threading
import time

sleep = time.sleep
Lock = threading.Lock
