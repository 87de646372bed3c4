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
        self._begin = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._shown = self._begin - (_ON_A_TERMINAL if self._terminal else _IN_A_LOG - 1)

    @property
    def rate(self) -> float:
        """Images a second, of this process."""
        return (self._done - self._before) / max(time.monotonic() - self._begin, 1e-9)

    @property
    def new(self) -> int:
        """Images that this process did."""
        return self._done - self._before

    def add(self, images: int, failed: int) -> None:
        """So many more are done, and so many of these failed."""
        self._done += images
        self._failed += failed
        now = time.monotonic()
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
