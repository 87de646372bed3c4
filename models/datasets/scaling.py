"""Vectors brought to one scale, column by column: what networks see of a table.

Fitted to the rows that are trained on and to no other.  It travels with the run and, inside the
graphs, with the bundle: outside, vectors are what the table says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Kind = Literal["none", "standard", "range"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """(x - shift) / scale; a column that never changed has scale 1."""

    shift: Floats  # [D]
    scale: Floats  # [D], positive

    @classmethod
    def fitted(cls, vectors: Floats, kind: Kind) -> Self | None:
        """Of vectors [N, D]: `standard` to mean 0 and deviation 1, `range` to [-1, 1]."""
        if kind == "none":
            return None
        exact = vectors.astype(np.float64)
        if kind == "standard":
            shift, scale = exact.mean(axis=0), exact.std(axis=0)
        else:
            low, high = exact.min(axis=0), exact.max(axis=0)
            shift, scale = (low + high) / 2, (high - low) / 2
        # rounding alone gives a constant column a deviation
        constant = scale <= 1e-7 * np.abs(exact).max(axis=0, initial=0)
        scale = np.where(constant, 1.0, scale)
        return cls(shift=shift.astype(np.float32), scale=scale.astype(np.float32))

    @classmethod
    def of_dict(cls, found: Mapping[str, Any]) -> Self:
        """What `to_dict` gave."""
        shift, scale = (np.array(found[name], np.float32) for name in ("shift", "scale"))
        return cls(shift=shift, scale=scale)

    def to_dict(self) -> dict[str, list[float]]:
        """Plain numbers for JSON."""
        return {"shift": self.shift.tolist(), "scale": self.scale.tolist()}

    def __call__(self, vectors: Floats) -> Floats:
        """Vectors [N, D] as networks see them."""
        scaled: Floats = (vectors - self.shift) / self.scale
        return scaled
