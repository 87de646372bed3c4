"""What images a model takes: their size, and how others are brought to it."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

Pixels: TypeAlias = npt.NDArray[np.uint8]
Fit: TypeAlias = Literal["stretch", "pad", "crop"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSpec:
    """The images a model takes, and how others are brought to that size."""

    height: int
    width: int
    channels: int  # 1 grey, 3 RGB
    fit: Fit = "stretch"
    filter: Literal["lanczos"] = "lanczos"
    background: int | tuple[int, ...] = 255  # around an image under "pad": one level, or C levels

    def __post_init__(self) -> None:
        for name, value in (("height", self.height), ("width", self.width)):
            if type(value) is not int or not 1 <= value <= 65_535:
                raise ValueError(f"{name} must be a whole number from 1 to 65535, got {value!r}")
        if type(self.channels) is not int or self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, got {self.channels!r}")
        if self.fit not in get_args(Fit):
            raise ValueError(f"fit must be one of {', '.join(get_args(Fit))}, got {self.fit!r}")
        if self.filter != "lanczos":
            raise ValueError(f"filter must be lanczos, got {self.filter!r}")
        sound = all(type(level) is int and 0 <= level <= 255 for level in self.levels)
        if len(self.levels) not in (1, self.channels) or not sound:
            raise ValueError(
                f"background must be a level from 0 to 255, or {self.channels} of them, "
                f"got {self.background!r}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.height, self.width, self.channels

    @property
    def levels(self) -> tuple[int, ...]:
        """The background, one level or C."""
        return self.background if isinstance(self.background, tuple) else (self.background,)
