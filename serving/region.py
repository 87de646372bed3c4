"""What of a frame is looked at: a rectangle, or what a mask marks."""

import hashlib
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from serving.errors import Unprocessable
from serving.images import FOLDER_FORMATS, MAX_PIXELS, decode_frame

_BOX: Final = re.compile(
    r"\s*" + r"\s*,\s*".join([r"([0-9]{1,6})"] * 2 + [r"(-?[0-9]{1,6})"] * 2) + r"\s*"
)
LIGHT: Final = 128  # a mask marks what is of this grey level or lighter


class Box(NamedTuple):
    """A rectangle of pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Region:
    """What of a frame is looked at: a box, or what a mask of the frame's size marks.

    A box whose width is -r ends r pixels before the right border, and so below: what is the same of
    frames of several sizes.
    """

    box: Box
    mask: npt.NDArray[np.bool_] | None = None  # [h, w] of the whole frame

    @classmethod
    def parse(
        cls,
        text: str,
        read: Callable[[str], bytes],
        *,
        max_pixels: int = MAX_PIXELS,
        formats: Collection[str] = FOLDER_FORMATS,
    ) -> "Region":
        """The region that `x,y,width,height` or a mask image means, whose bytes `read` gives.

        Raises Unprocessable for a region without pixels, UnsupportedType and others for no image.
        """
        found = _BOX.fullmatch(text)
        if found:
            box = Box(*map(int, found.groups()))
            if not box.width or not box.height:
                raise Unprocessable(f"roi must have pixels, got {text!r}")
            return cls(box=box)
        if not text or (len(text) < 40 and "," in text):
            raise Unprocessable(f"roi must be x,y,width,height or a mask image, got {text!r}")
        pixels = decode_frame(read(text), 1, max_pixels=max_pixels, formats=formats)
        mask = pixels[:, :, 0] >= LIGHT
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            raise Unprocessable("roi is a mask without a light pixel: there is nothing to look at")
        x, y = int(columns[0]), int(rows[0])
        box = Box(x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y)
        return cls(box=box, mask=mask)

    def within(self, height: int, width: int) -> Box:
        """The box, in a frame of this size.  Raises Unprocessable where it is of another."""
        if self.mask is not None and self.mask.shape != (height, width):
            size = f"{self.mask.shape[1]}x{self.mask.shape[0]}"
            raise Unprocessable(f"the frame has {width}x{height} pixels, the mask of roi {size}")
        x, y, across, down = self.box
        across += width - x if across < 0 else 0
        down += height - y if down < 0 else 0
        if x + across > width or y + down > height:
            raise Unprocessable(f"the frame has {width}x{height} pixels: roi goes beyond it")
        if across < 1 or down < 1:
            raise Unprocessable(f"the frame has {width}x{height} pixels: roi leaves none of them")
        return Box(x, y, across, down)

    def said(self) -> Any:
        """What tells it from others, for JSON: four numbers, or the hash of a mask."""
        if self.mask is None:
            return list(self.box)
        digest = hashlib.sha256(repr(self.mask.shape).encode())
        digest.update(np.packbits(self.mask).tobytes())
        return f"sha256:{digest.hexdigest()}"
