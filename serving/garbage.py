"""How often Python looks for garbage: a server makes much of what it takes for the first sign."""

import gc
from typing import Final

# Objects made and not yet gone: 64 requests that wait have several thousand.
_YOUNG: Final = 20_000


def collect_seldom() -> None:
    """For a process that serves: leave what is there by now alone, and look at new objects seldom.

    What requests leave behind goes at once, by its count of references; looking for cycles, of
    which they make next to none, took a tenth of the time that the event loop has.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)
