"""Damage done to real files: what a fuzzer starts from, and how it is judged."""

import gc
import random
import resource
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from serving.errors import ServingError

SHORT, FULL = 1, 20  # how many times the inputs of a short run
SECONDS: Final = 2.0  # of CPU, for one input
GROWTH: Final = 400 * 2**10  # KiB by which a process may grow over all inputs
_MOST: Final = 200_000  # bytes of an input: damage must not make it grow without end
_WORTHY: Final = (b"", b"\0", b"\xff", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"\x80\0\0\0")


@st.composite
def damaged(draw: st.DrawFn, files: Sequence[bytes]) -> bytes:
    """One of the files, damaged in up to 4 steps, or whole.

    What is done is drawn as bytes: many times as fast as drawing each number.
    """
    data = files[draw(st.integers(0, len(files) - 1))]
    return _after(data, draw(st.binary(max_size=20)), files)


def mangled(data: bytes, chance: random.Random) -> bytes:
    """The same for data where Hypothesis has no say."""
    return _after(data, chance.randbytes(5 * chance.randint(0, 3)), (data,))


def _after(data: bytes, steps: bytes, files: Sequence[bytes]) -> bytes:
    """Cut, flipped, overwritten, doubled, or spliced with another of the files; 5 bytes a step."""
    body = bytearray(data)
    for step in range(0, len(steps) - 4, 5):
        kind, high, low, size, value = steps[step : step + 5]
        at = (high << 8 | low) * len(body) >> 16
        match kind % 7:
            case 0:
                body[at : at + 1] = bytes(byte ^ 1 << value % 8 for byte in body[at : at + 1])
            case 1:
                body[at : at + size % 16] = bytes([value]) * (size % 16)
            case 2:
                body[at:at] = body[at : at + (size << value % 9)]
            case 3:
                del body[at : at + 1 + (size << value % 5 >> 4)]
            case 4:
                del body[at:]
            case 5:
                piece = _WORTHY[value % len(_WORTHY)]
                body[at : at + len(piece)] = piece
            case _:
                other = files[value % len(files)]
                body[at:] = other[size * len(other) >> 8 :]
    return bytes(body[:_MOST])


def fuzzing(inputs: int) -> settings:
    """Hypothesis' settings for so many inputs; a few thousand are the same in each run."""
    return settings(
        max_examples=inputs,
        deadline=None,
        database=None,
        derandomize=inputs < 5_000,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


def _answered(work: Callable[[], object]) -> tuple[ServingError | None, float]:
    """The refusal, None where there was none, and the seconds of CPU until it came."""
    begin, refusal = time.thread_time(), None
    try:
        work()
    except ServingError as error:
        refusal = error
    return refusal, time.thread_time() - begin


class Judge:
    """Sees to it that each input is answered or refused, in time, and counts which."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self._before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def judge(self, work: Callable[[], object]) -> None:
        """Run it: whatever it raises but a refusal of ours is a defect."""
        refusal, seconds = _answered(work)
        if seconds >= SECONDS:
            # Garbage of all the tests before may have been collected in it: no fault of the input.
            gc.collect()
            refusal, seconds = _answered(work)
        assert seconds < SECONDS
        self.outcomes["answered" if refusal is None else type(refusal).__name__] += 1
        if refusal is not None:
            assert 400 <= refusal.status < 500
            assert len(refusal.detail) < 1_000

    def conclude(self, inputs: int, *, least: float = 0.0) -> None:
        """All inputs came, memory did not grow much, both roads were taken by enough of them."""
        total = self.outcomes.total()
        assert total >= inputs
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self._before
        assert grown < GROWTH
        answered = self.outcomes["answered"]
        assert least * total <= answered <= (1 - least) * total, self.outcomes
