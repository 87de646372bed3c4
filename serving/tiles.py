"""Frames larger than a model's images: cut into tiles of its size, and put together again.

A frame is a picture at its own size.  Tiles stand `stride` pixels apart, the last of each row and
column flush with the border, so that every pixel lies in one; a frame that is narrower or lower
than a tile is continued by its mirror image.  A frame is as abnormal as its worst tile, by every
term; its heat is the mean of the tiles that overlap.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from serving.errors import Unprocessable
from serving.images import ImageSpec, Pixels, mirrored
from serving.region import Box, Region

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.intp]  # [K, 2], top and left of each tile in its frame
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiling:
    """How frames are cut."""

    tile: int  # side, the model's
    stride: int
    region: Region | None = None

    @classmethod
    def of(
        cls,
        spec: ImageSpec | None,
        known: Mapping[str, Any] | None,
        *,
        tile: int | None,
        stride: int | None,
        region: Region | None,
    ) -> "Tiling | None":
        """What the parameters ask of a model; None where they do not ask for tiles.

        Args:
            spec: The model's images; None for a model of vectors.
            known: How the frames were cut that calibrated it: what `stride` is unless told.
        Raises:
            Unprocessable: a tile that is not of the model's size, and what goes with none.
        """
        if tile is None:
            for name, value in (("stride", stride), ("roi", region)):
                if value is not None:
                    raise Unprocessable(f"{name} is of frames that are cut: it wants tile as well")
            return None
        if spec is None:
            raise Unprocessable("this model takes vectors: there is nothing to cut into tiles")
        if (spec.height, spec.width) != (tile, tile):
            size = f"{spec.width}x{spec.height}"
            raise Unprocessable(f"tile must be the side of the model's images, {size}, got {tile}")
        stride = stride or (known or {}).get("stride", tile)
        if stride > tile:
            raise Unprocessable(f"stride must be at most tile, {tile}, got {stride}")
        return cls(tile=tile, stride=stride, region=region)

    def said(self) -> Json:
        """What tells it from others, for JSON."""
        roi = {} if self.region is None else {"roi": self.region.said()}
        return {"tile": self.tile, "stride": self.stride, **roi}

    def count(self, height: int, width: int) -> int:
        """How many tiles a frame of this size makes at most: a mask may spare some.

        Raises Unprocessable where the region is not of such a frame.
        """
        box = self.box(height, width)
        return math.prod(len(self._starts(side)) for side in (box.height, box.width))

    def places(self, height: int, width: int) -> Places:
        """Where the tiles of a frame of this size are, row by row.

        Of a mask those that it touches.  Raises Unprocessable as `count` does.
        """
        box = self.box(height, width)
        tops, lefts = (self._starts(side) for side in (box.height, box.width))
        grid = np.stack(np.meshgrid(tops, lefts, indexing="ij"), axis=-1).reshape(-1, 2)
        places: Places = (grid + np.array([box.y, box.x])).astype(np.intp)
        mask = None if self.region is None else self.region.mask
        if mask is None:
            return places
        side = self.tile
        touched = [mask[y : y + side, x : x + side].any() for y, x in places]
        return places[np.array(touched)]

    def box(self, height: int, width: int) -> Box:
        """What is looked at of a frame of this size.  Raises Unprocessable as `count` does."""
        if self.region is None:
            return Box(0, 0, width, height)
        return self.region.within(height, width)

    def _starts(self, side: int) -> npt.NDArray[np.intp]:
        last = max(0, side - self.tile)
        return np.append(np.arange(0, last, self.stride), last)


def described(said: Mapping[str, Any] | None) -> str:
    """How frames are cut, for a sentence; None: not at all."""
    if said is None:
        return "whole images"
    roi = said.get("roi")
    where = f", roi={','.join(map(str, roi)) if isinstance(roi, list) else roi}" if roi else ""
    return f"frames cut with tile={said['tile']}, stride={said['stride']}{where}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frame:
    """A picture at its own size, and where it is cut."""

    pixels: Pixels  # [h, w, C]
    places: Places  # [K, 2]; none of a frame that failed

    def cut(self, tiling: Tiling) -> Pixels:
        """Its tiles [K, tile, tile, C]."""
        side, (height, width, channels) = tiling.tile, self.pixels.shape
        if not len(self.places):  # it failed, and need not hold the region
            return np.empty((0, side, side, channels), np.uint8)
        box = tiling.box(height, width)
        pixels = self.pixels[box.y : box.y + box.height, box.x : box.x + box.width]
        pixels = mirrored(pixels, side, side)
        tiles = np.empty((len(self.places), side, side, channels), np.uint8)
        for tile, (y, x) in zip(tiles, self.places - (box.y, box.x), strict=True):
            tile[:] = pixels[y : y + side, x : x + side]
        return tiles

    def stitched(self, heat: Floats, tiling: Tiling) -> Floats:
        """The heat [h, w] of its tiles' [K, tile, tile]: the mean where they overlap, else 0."""
        height, width = self.pixels.shape[:2]
        # a tile may reach beyond what it continues
        total = np.zeros((height + tiling.tile, width + tiling.tile), np.float32)
        times = np.zeros_like(total)
        for part, (y, x) in zip(heat, self.places, strict=True):
            place = slice(y, y + tiling.tile), slice(x, x + tiling.tile)
            total[place] += part
            times[place] += 1
        np.divide(total, times, out=total, where=times > 0)
        whole = total[:height, :width]
        region = tiling.region
        if region is None or not len(heat):
            return whole
        if region.mask is not None:
            whole[~region.mask] = 0
            return whole
        inside = np.zeros_like(whole)
        x, y, across, down = region.within(height, width)
        inside[y : y + down, x : x + across] = whole[y : y + down, x : x + across]
        return inside


@dataclass(frozen=True, eq=False)
class Frames:
    """N frames that are cut alike."""

    tiling: Tiling
    frames: Sequence[Frame]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, part: slice) -> "Frames":
        return Frames(self.tiling, self.frames[part])

    @property
    def nbytes(self) -> int:
        """Of the tiles."""
        return self.count * self.tiling.tile**2 * 3

    @cached_property
    def counts(self) -> list[int]:
        """Tiles of each frame, [N]."""
        return [len(frame.places) for frame in self.frames]

    @property
    def count(self) -> int:
        """Tiles in all."""
        return sum(self.counts)

    @property
    def owners(self) -> list[int]:
        """The frame of each tile."""
        return np.repeat(np.arange(len(self)), self.counts).tolist()

    def cut(self) -> Pixels:
        """All tiles, frame by frame: uint8 [count, tile, tile, C]."""
        return np.concatenate([frame.cut(self.tiling) for frame in self.frames])

    def split(self, rows: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """What was computed of all tiles, frame by frame."""
        return np.split(rows, np.cumsum(self.counts)[:-1])


def cut_otherwise(frames: Frames | None, known: Mapping[str, Any] | None) -> str:
    """Why scores of these frames (None: of images as they are) are not of the kind that is known.

    "" where they are.  `known` is how those frames were cut whose scores calibrated the model.
    """
    asked = None if frames is None else frames.tiling.said()
    if asked == (None if known is None else dict(known)):
        return ""
    return (
        f"the model was calibrated on {described(known)}, and these are {described(asked)}: "
        "scores can be ranked, not judged"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Worst:
    """The most abnormal tile of a frame."""

    score: float
    box: Box


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Whole:
    """What the tiles of N frames say of them."""

    terms: Floats  # [N, T], the largest of each frame's tiles by each term; 0 without tiles
    worst: list[Worst | None]  # N, by one term
    counts: list[int]  # N

    @classmethod
    def of(cls, frames: Frames, terms: Floats, column: int) -> "Whole":
        """From the terms [count, T] of the tiles, the worst by number `column` of them."""
        largest = np.zeros((len(frames), terms.shape[1]), np.float32)
        worst: list[Worst | None] = []
        for row, part, frame in zip(largest, frames.split(terms), frames.frames, strict=True):
            if not len(part):
                worst.append(None)
                continue
            row[:] = part.max(axis=0)
            at = int(part[:, column].argmax())
            y, x = frame.places[at].tolist()
            side, seen = frames.tiling.tile, frames.tiling.box(*frame.pixels.shape[:2])
            across, down = seen.x + seen.width - x, seen.y + seen.height - y
            box = Box(x, y, min(side, across), min(side, down))
            worst.append(Worst(score=float(part[at, column]), box=box))
        return cls(terms=largest, worst=worst, counts=frames.counts)


@dataclass(frozen=True, eq=False)
class Stitched(Sequence[Floats]):
    """Heat [h, w] of N frames, put together when it is asked for."""

    frames: Frames
    heat: Sequence[Floats]  # of the tiles of each, [K, tile, tile]

    def __len__(self) -> int:
        return len(self.frames)

    @overload
    def __getitem__(self, index: int) -> Floats: ...
    @overload
    def __getitem__(self, index: slice) -> "list[Floats]": ...
    def __getitem__(self, index: int | slice) -> "Floats | list[Floats]":
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.frames.frames[index].stitched(self.heat[index], self.frames.tiling)
