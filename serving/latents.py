"""Points, paths and clouds in the latent space: numpy only, the same on every machine.

Shapes: N items, Z latent, K waypoints.  All codes are float32.  A code that was drawn depends on
its seed and its own number alone, never on how many were drawn with it, in which order or where.
"""

import secrets
from itertools import pairwise
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from serving.errors import Unprocessable

Codes: TypeAlias = npt.NDArray[np.float32]
Prior: TypeAlias = Literal["normal", "uniform"]
Path: TypeAlias = Literal["slerp", "lerp"]

MAX_SEED: Final = 2**63 - 1
MAX_STRENGTH: Final = 1e6  # z is long lost by then; far above, its sum with epsilon overflows
_PARALLEL: Final = 1e-4  # the sine of an angle too small, or too near 180 degrees, to divide by


def draw_seed() -> int:
    """A seed nobody can guess, below 2^53 so that JavaScript reads it without loss."""
    return secrets.randbits(53)


def sample(
    seed: int,
    n: int,
    size: int,
    prior: Prior,
    *,
    categorical: int = 0,
    truncation: float = 1.0,
    start: int = 0,
) -> Codes:
    """Codes [n, Z] from the prior: row i is number start + i of the seed's endless sequence.

    Row i is `np.random.Generator(np.random.Philox(key=[seed, start + i]))`'s first Z numbers:
    `standard_normal(Z, float32)`, or `2 * random(Z, float32) - 1`; then times `truncation`.
    Of a mixed prior with K categories these are the first Z - K numbers; then `integers(K)` says
    which of the last K is 1, the others being 0.

    Args:
        seed: 0 .. 2^63 - 1.
        n: How many.
        size: Z.
        prior: "normal", or "uniform" on [-1, 1).
        categorical: K; 0 for a prior that is not mixed.
        truncation: psi in (0, 1]; below 1 codes lie closer to 0, images are tamer and more alike.
            A category stays what it is.
        start: The number of the first, so that a long sequence can be drawn in pieces.
    Raises:
        Unprocessable: a value is out of its range.
    """
    _check_seed(seed)
    if not 0 < truncation <= 1:
        raise Unprocessable(f"truncation must be above 0 and at most 1, got {truncation:g}")
    if n < 0 or start < 0:
        raise Unprocessable(f"n and start must be at least 0, got {n} and {start}")
    codes = np.empty((n, size - categorical), np.float32)
    categories = np.zeros((n, categorical), np.float32)
    # One generator, keyed anew for each row: four times as fast as a new one, the same numbers.
    bits = np.random.Philox(key=0)
    random, state = np.random.Generator(bits), bits.state
    for i in range(n):
        state["state"]["key"] = np.array([seed, start + i], np.uint64)
        bits.state = state
        if prior == "normal":
            random.standard_normal(out=codes[i], dtype=np.float32)
        else:
            random.random(out=codes[i], dtype=np.float32)
        if categorical:
            categories[i, random.integers(categorical)] = 1
    if prior == "uniform":
        codes *= 2
        codes -= 1
    codes *= np.float32(truncation)
    return np.concatenate([codes, categories], axis=1) if categorical else codes


def path(
    waypoints: Codes,
    frames: int,
    path: Path = "slerp",
    prior: Prior = "normal",
    *,
    categorical: int = 0,
) -> Codes:
    """Codes along the way from waypoint to waypoint: [(K - 1) * (frames - 1) + 1, Z].

    Each leg has `frames` codes, both ends included; a waypoint between two legs appears once.
    The waypoints themselves are in the answer, bit for bit: float64 in between sees to that.

    Args:
        waypoints: [K, Z], K >= 2.
        frames: Codes per leg, at least 2.
        path: "slerp" or "lerp".
        prior: Under a uniform prior the way is always straight: no shell is denser than another.
        categorical: So many last numbers are shares of categories: between them it is straight too.
    Raises:
        Unprocessable: fewer than 2 waypoints or frames, or an unknown path.
    """
    if len(waypoints) < 2:
        raise Unprocessable(f"a path needs at least 2 ends, got {len(waypoints)}")
    if frames < 2:
        raise Unprocessable(f"frames must be at least 2 (both ends of a leg), got {frames}")
    if path not in get_args(Path):
        raise Unprocessable(f"path must be one of {', '.join(get_args(Path))}, got {path!r}")
    between = slerp if path == "slerp" and prior == "normal" else lerp
    steps = np.linspace(0, 1, frames)[:-1]
    cut = waypoints.shape[1] - categorical
    legs = [
        np.concatenate([between(a[:cut], b[:cut], steps), lerp(a[cut:], b[cut:], steps)], axis=1)
        for a, b in pairwise(waypoints)
    ]
    return np.concatenate([*legs, waypoints[-1:]], dtype=np.float32)


def lerp(a: Codes, b: Codes, steps: npt.ArrayLike) -> Codes:
    """Codes (1 - t) a + t b on the straight line from a to b, one per step t: [T, Z]."""
    start, end = np.asarray(a, np.float64), np.asarray(b, np.float64)
    t = np.asarray(steps, np.float64)[:, np.newaxis]
    return ((1 - t) * start + t * end).astype(np.float32)


def slerp(a: Codes, b: Codes, steps: npt.ArrayLike) -> Codes:
    """Codes on the arc from a to b, one per step t: [T, Z].

    The direction turns at constant speed and the norm changes linearly, for under a normal prior
    nearly all codes have norms near sqrt(Z), which a straight line leaves (White 2016,
    arXiv:1609.04468).  Codes that point the same way, or opposite ways, or at 0, have no arc:
    between them the line is straight.
    """
    start, end = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    if min(lengths) == 0:
        return lerp(a, b, steps)
    start, end = start / lengths[0], end / lengths[1]
    angle = np.arccos(np.clip(start @ end, -1, 1))
    if np.sin(angle) < _PARALLEL:
        return lerp(a, b, steps)
    t = np.asarray(steps, np.float64)[:, np.newaxis]
    directions = (np.sin((1 - t) * angle) * start + np.sin(t * angle) * end) / np.sin(angle)
    return (((1 - t) * lengths[0] + t * lengths[1]) * directions).astype(np.float32)


def vary(
    z: Codes, n: int, strength: float, seed: int, prior: Prior, *, categorical: int = 0
) -> Codes:
    """Codes [n, Z] around z [Z]: z + strength * epsilon, with epsilon from the prior.

    Under a normal prior each is brought back to the norm of z, so that it is as likely as z; under
    a uniform one it is clipped to [-1, 1].  The last `categorical` numbers, shares of categories,
    stay as they are.  Row i depends on z, strength and (seed, i) alone.
    Raises Unprocessable if strength or seed is out of its range.
    """
    if not 0 <= strength <= MAX_STRENGTH:
        raise Unprocessable(f"strength must be from 0 to {MAX_STRENGTH:g}, got {strength:g}")
    if categorical:
        free = vary(z[:-categorical], n, strength, seed, prior)
        return np.concatenate([free, np.tile(z[-categorical:], (n, 1))], axis=1, dtype=np.float32)
    centre = np.asarray(z, np.float64)
    codes = centre + strength * sample(seed, n, len(centre), prior).astype(np.float64)
    if prior == "uniform":
        return np.clip(codes, -1, 1).astype(np.float32)
    lengths = np.linalg.norm(codes, axis=1, keepdims=True)
    codes *= np.linalg.norm(centre) / np.where(lengths > 0, lengths, 1)
    return codes.astype(np.float32)


def _check_seed(seed: int) -> None:
    if not 0 <= seed <= MAX_SEED:
        raise Unprocessable(f"seed must be a whole number from 0 to 2^63 - 1, got {seed}")
