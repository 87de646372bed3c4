"""When the requests of an open loop are due, and percentiles of what was measured: pure."""

import random
from collections.abc import Sequence

__all__ = ["due_times", "percentiles"]


def due_times(rate: float, seconds: float, *, seed: int | None = None) -> list[float]:
    """The times within [0, seconds) at which requests are due, rising.

    Args:
        rate: Requests a second.
        seconds: Length of the schedule.
        seed: Gaps drawn with it, exponentially (a Poisson process); None: gaps of equal length.
    """
    if rate <= 0 or seconds < 0:
        raise ValueError(f"a rate above 0 and seconds from 0 are wanted, got {rate} and {seconds}")
    if seed is None:
        times = [i / rate for i in range(int(rate * seconds) + 1)]
        return [time for time in times if time < seconds]
    draw, times, now = random.Random(seed), [], 0.0
    while (now := now + draw.expovariate(rate)) < seconds:
        times.append(now)
    return times


def percentiles(values: Sequence[float], points: Sequence[float]) -> list[float]:
    """The percentiles of `values` at `points` (0 to 100), linear between neighbours.

    Raises ValueError for no values.
    """
    if not values:
        raise ValueError("percentiles of nothing")
    ranked = sorted(values)
    found = []
    for point in points:
        place = (len(ranked) - 1) * point / 100
        low = int(place)
        high = min(low + 1, len(ranked) - 1)
        found.append(ranked[low] + (ranked[high] - ranked[low]) * (place - low))
    return found
