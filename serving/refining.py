"""Better reconstructions: codes moved until E sees in G(z) what it saw in x."""

import asyncio
import functools
from collections.abc import Callable
from typing import Final

import numpy as np

from serving.results import Array, Floats, Reconstructed, Runner

Unit = Floats | float  # of a residual: Manifest.unit
_HEAVY: Final = 256 * 1024  # bytes of numpy work that take longer than a change of threads


async def refined(
    runner: Runner, items: Array, first: Reconstructed, refine: int, unit: Unit
) -> Reconstructed:
    """The best of `first` and `refine` steps from there.

    Step k goes to z_k = z_{k-1} + E(x) - E(G(z_{k-1})), from z_0 = E(x).  Nothing makes it
    converge, so of each item the step with the smallest l1 is kept, the first of equals.
    """
    codes = z = first.latents
    made, usage = first.items, first.usage
    best, latents, l1 = made.copy(), codes.copy(), first.l1.copy()
    steps = np.zeros(len(items), np.int64)
    for step in range(1, refine + 1):
        back = await runner.run("encode", made)
        moved = z + (codes - back.outputs[0])
        z = np.where(np.isfinite(moved).all(axis=1, keepdims=True), moved, z)  # lost ones stay
        answer = await runner.run("decode", z)
        made, usage = answer.outputs[0], usage.plus(back).plus(answer)
        work = functools.partial(mean_difference, items, made, unit)
        current = await aside(items.nbytes, work)
        better = current < l1
        best[better], latents[better], l1[better] = made[better], z[better], current[better]
        steps[better] = step
    return Reconstructed(items=best, latents=latents, l1=l1, usage=usage, steps=steps)


def mean_difference(items: Array, made: Array, unit: Unit) -> Floats:
    """Mean |x - r| / unit of each row; a unit for each column goes with vectors alone."""
    difference = np.abs(items.astype(np.float32) - made.astype(np.float32))
    if isinstance(unit, np.ndarray):
        difference, unit = difference / unit, 1.0
    l1: Floats = difference.reshape(len(items), -1).mean(axis=1, dtype=np.float64) / unit
    return l1.astype(np.float32)


async def aside(weight: int, work: Callable[[], Array]) -> Array:
    """What `work` gives; on another thread where it would hold up the event loop."""
    return await asyncio.to_thread(work) if weight > _HEAVY else work()
