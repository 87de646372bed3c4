"""How far the codes of what comes in lie from the prior that a model was trained against.

A camera that goes out of focus, a lamp that ages: E still answers, but its codes gather elsewhere.
"""

import math
import threading
from typing import Final

import numpy as np
import numpy.typing as npt

from serving.latents import Prior

_HORIZON: Final = 1_000  # images after which one counts for 1 / e of a new one
_TOGETHER: Final = 256  # rows that are added up at once
_DEVIATION: Final = {"normal": 1.0, "uniform": math.sqrt(1 / 3)}  # of a coordinate under the prior


class Drift:
    """Running mean and variance of a model's codes, against its prior's; for any thread.

    Args:
        prior: What the model's codes were meant to be distributed as.
    """

    def __init__(self, prior: Prior) -> None:
        self._scale = 1 / _DEVIATION[prior]
        self._lock = threading.Lock()
        self._waiting: list[npt.NDArray[np.float32]] = []
        self._rows = 0  # of those
        self._weight = 0.0
        self._sum: npt.NDArray[np.float64] | float = 0.0  # [Z]
        self._squares = 0.0  # mean over coordinates

    def watch(self, codes: npt.NDArray[np.float32]) -> None:
        """Take these codes [N, Z] into account; cheaply: they are added up some hundred at a time.

        The array must not change afterwards.
        """
        with self._lock:
            self._waiting.append(codes)
            self._rows += len(codes)
            if self._rows >= _TOGETHER:
                self._add_up()

    def figures(self) -> tuple[float, float] | None:
        """Shift and spread of the codes, in units of the prior; None before there are any.

        The shift is the root mean square, over coordinates, of their means: 0 under the prior, and
        about 1 / sqrt(n) after n images from it.  The spread is the root of the mean variance of a
        coordinate: 1 under the prior.
        """
        with self._lock:
            self._add_up()
            if not self._weight:
                return None
            means = np.asarray(self._sum) / self._weight
            squares = self._squares / self._weight
        bias = float(np.mean(means**2))
        spread = math.sqrt(max(0.0, squares - bias))
        return self._scale * math.sqrt(bias), self._scale * spread

    def _add_up(self) -> None:
        if not self._rows:
            return
        codes = np.concatenate(self._waiting)
        rows, size = codes.shape
        kept = math.exp(-rows / _HORIZON)
        self._weight = self._weight * kept + rows
        self._sum = self._sum * kept + codes.sum(axis=0, dtype=np.float64)
        self._squares = self._squares * kept + float(np.vdot(codes, codes)) / size
        self._waiting, self._rows = [], 0
