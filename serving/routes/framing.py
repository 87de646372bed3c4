"""What a request brought, as frames that are cut into tiles: decoded at their own size, checked.

A request may hold as many tiles as images (BIJECT_MAX_IMAGES), and all its frames together as many
pixels as one image (BIJECT_MAX_PIXELS): they stay in memory until the answer is written.
"""

import asyncio
import functools
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving import images, rendering
from serving.bundle import Manifest
from serving.deployment import Deployment
from serving.errors import BadRequest, ServingError, TooLarge, Unprocessable
from serving.images import HTTP_FORMATS, Pixels
from serving.region import Region
from serving.routes.bodies import Payload
from serving.routes.intake import Faults, check_count, file_of, together
from serving.settings import Settings
from serving.tiles import Frame, Frames, Tiling


async def tiling(
    deployment: Deployment, manifest: Manifest, values: Mapping[str, Any]
) -> Tiling | None:
    """How the request wants its images cut; None where it does not.

    Raises Unprocessable, and what is wrong with a mask.
    """
    if all(values.get(name) is None for name in ("tile", "stride", "roi")):
        return None
    region, roi = None, values["roi"]
    if roi is not None:
        read = functools.partial(
            Region.parse,
            roi,
            rendering.parse_data_uri,
            max_pixels=deployment.settings.max_pixels,
            formats=HTTP_FORMATS,
        )
        region = await deployment.aside(read)
    return Tiling.of(
        manifest.image,
        manifest.score.tiles,
        tile=values["tile"],
        stride=values["stride"],
        region=region,
    )


async def frames(
    deployment: Deployment,
    manifest: Manifest,
    payload: Payload,
    tiling: Tiling,
    faults: Faults | None = None,
) -> Frames:
    """The frames of a request.  With `faults` one that is no good is noted there, and has no tiles.

    Raises:
        TooLarge: more frames, tiles or pixels than the server takes.
        Unprocessable, UnsupportedType: a frame is no good; each is named by its index.
    """
    _, _, channels = manifest.item[1]
    room = _Room(deployment.settings, tiling)
    if payload.npy is not None:
        data = payload.npy
        found = await deployment.aside(lambda: _from_npy(data, channels, room))
        return Frames(tiling, found)
    if payload.files is None:
        raise BadRequest("the body holds no images")
    check_count(len(payload.files), deployment.settings.max_images, "images")
    decoded, bad = await _decoded(deployment, payload.files, channels, room)
    if bad and faults is None:
        raise together(bad, len(decoded), "images")
    if faults is not None:
        faults |= bad
    return Frames(tiling, decoded)


class _Room:
    """What is left to a request; any thread may ask."""

    def __init__(self, settings: Settings, tiling: Tiling) -> None:
        self.max_pixels = settings.max_pixels
        self._max_tiles = settings.max_images
        self._tiling = tiling
        self._tiles = self._pixels = 0
        self._lock = threading.Lock()

    def frame(self, pixels: Pixels) -> Frame:
        """The frame of these pixels [h, w, C].

        Raises _Full where there is no room for it, Unprocessable where the region is not of it.
        """
        height, width = pixels.shape[:2]
        tiles = self._tiling.count(height, width)
        with self._lock:
            self._tiles += tiles
            self._pixels += height * width
            if self._tiles > self._max_tiles:
                raise _Full(
                    f"at most {self._max_tiles:,} tiles in one request, and a frame of "
                    f"{width}x{height} pixels makes {tiles:,}: take a larger stride, or fewer"
                )
            if self._pixels > self.max_pixels:
                raise _Full(
                    f"at most {self.max_pixels:,} pixels in all frames of one request together"
                )
        return Frame(pixels=pixels, places=self._tiling.places(height, width))


class _Full(TooLarge):
    """The request as a whole is too large, whichever of its frames it was."""


async def _decoded(
    deployment: Deployment, files: Sequence[bytes | object], channels: int, room: _Room
) -> tuple[list[Frame], Faults]:
    nothing = Frame(pixels=np.zeros((1, 1, channels), np.uint8), places=np.empty((0, 2), np.intp))
    found = [nothing] * len(files)
    bad: Faults = {}

    def decode(i: int) -> None:
        try:
            file = file_of(files[i])
            pixels = images.decode_frame(file, channels, max_pixels=room.max_pixels)
            found[i] = room.frame(pixels)
        except _Full:
            raise
        except ServingError as error:
            bad[i] = error

    async def decode_in_turn() -> None:
        for i in numbers:  # shared: whoever is done takes the next
            await deployment.aside(functools.partial(decode, i))

    numbers = iter(range(len(files)))
    turns = [asyncio.ensure_future(decode_in_turn()) for _ in range(deployment.cores)]
    try:
        await asyncio.gather(*turns)
    finally:
        for turn in turns:
            turn.cancel()
    return found, bad


def _from_npy(data: bytes, channels: int, room: _Room) -> list[Frame]:
    array = rendering.read_npy(data, dtype=np.uint8)
    if channels == 1 and array.ndim == 3:
        array = array[..., np.newaxis]  # one-channel images may come as [N, H, W]
    if array.ndim != 4 or array.shape[3] != channels:
        raise Unprocessable(f"frames must be uint8 [N, h, w, {channels}], got {list(array.shape)}")
    return [room.frame(pixels) for pixels in array]
