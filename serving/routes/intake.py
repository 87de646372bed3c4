"""What a request brought, as arrays that a model takes: decoded, checked, before any queue.

All of it is work for threads: `arrays` cuts it into pieces and hands them to the pool for pixels.
"""

import asyncio
import functools
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from serving import images, rendering
from serving.bundle import Manifest
from serving.deployment import Deployment
from serving.errors import (
    BadRequest,
    ItemProblem,
    ServingError,
    TooLarge,
    Unprocessable,
)
from serving.images import ImageSpec
from serving.routes import items
from serving.routes.bodies import Payload
from serving.routes.items import Wanted
from serving.routes.parameter import as_float

Array = npt.NDArray[Any]
Faults = dict[int, ServingError]  # what is wrong with which item
_PIECE: Final = 16  # images per piece of work: a long request lets others between
_PIECE_BYTES: Final = 2**18  # or so many bytes of them
_AT_ONCE: Final = 2**17  # bytes of numbers that are looked at sooner than a thread is woken
_SMALL: Final = 2**14  # bytes of an image that takes no longer to decode than to hand to a thread


def kind_wanted(verb: str, manifest: Manifest) -> Wanted | None:
    """What the body of a request for `verb` holds; None: parameters only."""
    if verb == "sample":
        return None
    if verb == "decode":
        return "latents"
    return "images" if manifest.image is not None else "vectors"


async def arrays(
    deployment: Deployment,
    manifest: Manifest,
    payload: Payload,
    wanted: Wanted,
    faults: Faults | None = None,
) -> Array:
    """The rows of a request: images uint8 [N, H, W, C], vectors or latents float32 [N, D].

    With `faults` an item that is no good is noted there, and its row is 0.

    Raises:
        TooLarge: more rows than the server takes, or an image of too many pixels.
        Unprocessable, UnsupportedType: an item is no good; each is named by its index.
    """
    limit = deployment.settings.max_images
    if payload.files is not None:
        if manifest.image is None:
            raise BadRequest("this model takes vectors, not images")
        check_count(len(payload.files), limit, wanted)
        max_pixels = deployment.settings.max_pixels
        rows, bad = await _decoded(deployment, payload.files, manifest.image, max_pixels)
    elif payload.npy is not None:
        data = payload.npy
        if len(data) <= _AT_ONCE:
            rows, bad = _from_npy(data, manifest, wanted, limit)
        else:
            rows, bad = await deployment.aside(lambda: _from_npy(data, manifest, wanted, limit))
    else:
        rows, bad = await deployment.aside(
            lambda: _from_rows(payload.rows, manifest, wanted, limit)
        )
    if bad and faults is None:
        raise together(bad, len(rows), wanted)
    if faults is not None:
        faults |= bad
    return rows


def check_number(
    verb: str, rows: Array | None, values: Mapping[str, Any], *, max_frames: int
) -> None:
    """Raises Unprocessable for a verb that wants another number of items, or makes too many."""
    count = 0 if rows is None else len(rows)
    if rows is not None:
        low, high = items.least(verb), items.most(verb, count)
        if not low <= count <= high:
            wanted = f"{low} item" if low == high else f"{low} to {high} items"
            raise Unprocessable(f"{verb} wants {wanted}, got {count}")
    if verb == "interpolate":
        frames = (count - 1) * (values["frames"] - 1) + 1
        if frames > max_frames:
            raise Unprocessable(f"at most {max_frames} frames in all, this would make {frames}")


async def _decoded(
    deployment: Deployment, files: Sequence[bytes | object], spec: ImageSpec, max_pixels: int
) -> tuple[Array, Faults]:
    if len(files) == 1:
        return await _decoded_one(deployment, files[0], spec, max_pixels)
    out = np.empty((len(files), *spec.shape), np.uint8)
    bad: Faults = {}
    over = threading.Event()  # nobody waits any more

    def decode(piece: range) -> None:
        for i in piece:
            if over.is_set():
                return
            try:
                out[i] = images.decode(file_of(files[i]), spec, max_pixels=max_pixels)
            except ServingError as error:
                out[i], bad[i] = 0, error

    async def decode_in_turn() -> None:
        for piece in pieces:  # shared: whoever is done takes the next
            await deployment.aside(functools.partial(decode, piece))

    cut = _pieces(files)
    pieces = iter(cut)
    # All at once would be before everybody else's.
    at_once = min(len(cut), deployment.cores)
    try:
        if at_once == 1:  # most requests are of one piece, which needs no task of its own
            await decode_in_turn()
        else:
            await asyncio.gather(*(decode_in_turn() for _ in range(at_once)))
    finally:
        over.set()
    return out, bad


async def _decoded_one(
    deployment: Deployment, file: bytes | object, spec: ImageSpec, max_pixels: int
) -> tuple[Array, Faults]:
    """The one image of most requests, which needs no turns."""
    small = isinstance(file, bytes | str) and len(file) <= _SMALL
    try:
        image = await deployment.aside(
            lambda: images.decode(file_of(file), spec, max_pixels=max_pixels), small=small
        )
    except ServingError as error:
        return np.zeros((1, *spec.shape), np.uint8), {0: error}
    return image[np.newaxis], {}


def _pieces(files: Sequence[bytes | object]) -> list[range]:
    """The files' numbers in pieces of work, after each of which others have their turn."""
    pieces, start, size = [], 0, 0
    for i, file in enumerate(files):
        size += len(file) if isinstance(file, bytes | str) else 0
        if i + 1 - start == _PIECE or size >= _PIECE_BYTES:
            pieces.append(range(start, i + 1))
            start, size = i + 1, 0
    if start < len(files):
        pieces.append(range(start, len(files)))
    return pieces


def file_of(given: bytes | object) -> bytes:
    """The encoded image: bytes, or what a data URI holds.  Raises Unprocessable for neither."""
    if isinstance(given, bytes):
        return given
    if isinstance(given, str):
        return rendering.parse_data_uri(given)
    raise Unprocessable("an image must be text: a data URI, or base64")


def together(bad: Faults, count: int, wanted: Wanted) -> ServingError:
    """One error for all guilty items: theirs where they agree on the status, else a 422."""
    indices = sorted(bad)
    first = bad[indices[0]]
    if count == 1 and wanted == "images":
        return first
    kinds = {type(error) for error in bad.values()}
    kind = kinds.pop() if len(kinds) == 1 else Unprocessable
    verb = "is" if len(bad) == 1 else "are"
    return kind(
        f"{len(bad)} of {count} {wanted} {verb} no good; "
        f"the first is number {indices[0]}: {first.detail}",
        items=[ItemProblem(index, bad[index].detail) for index in indices],
    )


def _from_npy(data: bytes, manifest: Manifest, wanted: Wanted, limit: int) -> tuple[Array, Faults]:
    dtype, shape = _signature(manifest, wanted)
    array = rendering.read_npy(data, dtype=dtype, max_rows=limit)
    if wanted == "images" and shape[-1] == 1 and array.ndim == len(shape):
        array = array[..., np.newaxis]  # one-channel images may come as [N, H, W]
    if array.shape[1:] != shape:
        raise Unprocessable(
            f"{wanted} must be {dtype} [N, {', '.join(map(str, shape))}], got {list(array.shape)}"
        )
    return (array, {}) if dtype == np.uint8 else _finite(array)


def _from_rows(
    rows: object, manifest: Manifest, wanted: Wanted, limit: int
) -> tuple[Array, Faults]:
    shape = _signature(manifest, wanted)[1]
    if not isinstance(rows, list):  # only images come as files, everything else as rows
        raise BadRequest(f"the body holds no {wanted}")
    check_count(len(rows), limit, wanted)
    bad: Faults = {
        i: Unprocessable(fault) for i, row in enumerate(rows) if (fault := _fault(row, *shape))
    }
    if bad:
        rows = [[0.0] * shape[0] if i in bad else row for i, row in enumerate(rows)]
    try:
        numbers = np.array(rows, np.float64)
    except OverflowError:
        numbers = np.array([list(map(as_float, row)) for row in rows], np.float64)
    array, infinite = _finite(numbers)
    return array, bad | infinite


def _fault(row: object, size: int) -> str | None:
    if not isinstance(row, list):
        return "it must be a list of numbers"
    if len(row) != size:
        return f"it must have {size} numbers, got {len(row)}"
    if set(map(type, row)) - {float, int}:  # by type: a bool is an int to isinstance
        return "it must hold nothing but numbers"
    return None


def _finite(array: Array) -> tuple[Array, Faults]:
    """The array as float32, and its rows that are not finite in it, which are 0."""
    with np.errstate(over="ignore"):
        array = array.astype(np.float32, copy=False)
    good = np.asarray(np.isfinite(array).all(axis=1))
    if good.all():
        return array, {}
    array = np.where(good[:, np.newaxis], array, np.float32(0))
    fault = Unprocessable("it has numbers that are not finite")
    return array, {int(i): fault for i in np.flatnonzero(~good)}


def _signature(manifest: Manifest, wanted: Wanted) -> tuple[np.dtype[Any], tuple[int, ...]]:
    if wanted == "latents":
        return np.dtype(np.float32), (manifest.latent.size,)
    dtype, shape = manifest.item
    return np.dtype(dtype), shape


def check_count(count: int, limit: int, wanted: Wanted) -> None:
    """Raises Unprocessable for no items, TooLarge for too many."""
    if count == 0:
        raise Unprocessable(f"no {wanted}")
    if count > limit:
        raise TooLarge(f"at most {limit:,} {wanted} in one request, got {count:,}")
