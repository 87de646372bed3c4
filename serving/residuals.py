"""What G(E(x)) lacks of x: added back to a morph, so that it meets the very images it goes through.

Shapes: K waypoints, F frames in a row of the morph, `...` one image or vector.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Residuals:
    """x - G(E(x)) of each waypoint x, and how far the waypoints are apart."""

    waypoints: Array  # x, [K, ...]
    lacking: npt.NDArray[np.float32]  # [K, ...]
    frames: int  # per leg, both ends included

    @classmethod
    def of(cls, waypoints: Array, made: Array, frames: int) -> "Residuals":
        """Of waypoints and G(E(x)) of each."""
        lacking = waypoints.astype(np.float32) - made.astype(np.float32)
        return cls(waypoints=waypoints, lacking=lacking, frames=frames)

    def added(self, made: Array, start: int) -> Array:
        """The frames [F, ...] with their residuals; the first is the morph's frame `start`.

        Frame t of the leg from x_a to x_b gets (1 - t) of a's residual and t of b's; images are
        rounded and kept within 0 .. 255.  Waypoints are put in as they are: G may differ in its
        last bit from batch to batch.
        """
        out = np.empty_like(made)
        for i, frame in enumerate(made):
            leg, step = divmod(start + i, self.frames - 1)
            if step == 0:
                out[i] = self.waypoints[leg]
                continue
            t = np.float32(step / (self.frames - 1))
            whole = frame + (1 - t) * self.lacking[leg] + t * self.lacking[leg + 1]
            out[i] = np.rint(whole).clip(0, 255) if made.dtype == np.uint8 else whole
        return out
