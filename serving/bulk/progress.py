"""How far a run is, how fast, and how long it will take: on stderr."""

import sys
import time
from datetime import timedelta
from typing import Final

_ON_A_TERMINAL: Final = 0.5  # seconds between two looks
_IN_A_LOG: Final = 30.0


class Progress:
    """Counts images.

    Args:
        total: Images of the run.
        done: Those that an earlier process did.
    """

    def __init__(self, total: int, done: int) -> None:
        self._total, self._done, self._before = total, done, done
        self._failed = 0
        self._begin: float | None = None  # when the first were done: until then processes begin
        self._terminal = sys.stderr.isatty()
        self._shown = time.monotonic()

    @property
    def rate(self) -> float:
        """Images a second, of this process since it was under way; 0 if it never was."""
        if self._begin is None:
            return 0.0
        return (self._done - self._before) / max(time.monotonic() - self._begin, 1e-9)

    def add(self, images: int, failed: int) -> None:
        """So many more are done, and so many of these failed."""
        now = time.monotonic()
        self._done += images
        self._failed += failed
        if self._begin is None:
            self._begin, self._before = now, self._done
        if now - self._shown >= (_ON_A_TERMINAL if self._terminal else _IN_A_LOG):
            self._shown = now
            self._say(f"\r\033[K{self}" if self._terminal else f"{self}\n")

    def end(self) -> None:
        """Leave a terminal's line clean for what comes next."""
        if self._terminal:
            self._say("\r\033[K")

    def __str__(self) -> str:
        rate = self.rate
        left = timedelta(seconds=round((self._total - self._done) / rate)) if rate else "unknown"
        failed = f", {self._failed:,} of them cannot be read" if self._failed else ""
        return f"{self._done:,} of {self._total:,} images{failed}, {rate:,.0f}/s, {left} left"

    @staticmethod
    def _say(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
