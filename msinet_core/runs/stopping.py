"""Requests to stop a run."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# SIGTERM is sent by schedulers, SIGBREAK is what Windows has in its place.
NAMES = ("SIGINT", "SIGTERM", "SIGBREAK")
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
SAME_REQUEST = 1.0  # seconds; a launcher hands on a Ctrl-C that its processes already had


class Stop:
    """A request to stop at the next step: Ctrl-C, SIGTERM, or `stop()` from another thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._asked = 0.0
        self.reason = ""

    def stop(self, reason: str = "asked to stop") -> None:
        self.reason, self._asked = reason, time.monotonic()
        self._event.set()

    def __bool__(self) -> bool:
        return self._event.is_set()

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Take the signals while inside; a second Ctrl-C, a second later or more, interrupts at
        once.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self  # only the main thread may set handlers
            return

        def handle(number: int, frame: Any) -> None:
            if self._event.is_set():
                if time.monotonic() - self._asked < SAME_REQUEST:
                    return
                raise KeyboardInterrupt
            self.stop(signal.Signals(number).name)

        before = {number: signal.signal(number, handle) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
