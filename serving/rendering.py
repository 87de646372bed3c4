"""Arrays to bytes: PNG, WebP, GIF, zip, npy, data URIs; and npy and data URIs back.

Images are uint8 [N, H, W, C] or [H, W, C] with C = 1 grey or 3 RGB, heat maps float [H, W].
PNG, WebP and npy keep every pixel.  The bytes depend on the arrays alone.
"""

import binascii
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.errors import BadRequest, TooLarge, Unprocessable
from serving.images import Pixels

FPS = 12.0  # frames a second, unless told
MIN_FPS, MAX_FPS = 0.1, 50  # browsers slow a GIF down to 10 a second where it asks for more than 50
_MAX_GIF_MS: Final = 655_350  # a frame's time is 16 bits of 1/100 s
_MAX_SIDES: Final = {"WEBP": 16_383, "GIF": 65_535}  # pixels
_ROWS: Final = 256  # that are coloured at once
_FULL_HEAT: Final = 0.25  # heat that is coloured fully, at least; or noise would look like damage

# Inferno's colours at 0, 1/4, 1/2, 3/4 and 1 (matplotlib, CC0), straight lines between.
_INFERNO: Final = np.array(
    [(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float32
)
_AT: Final = np.linspace(0, 1, len(_INFERNO))

_NPY_MAGIC: Final = b"\x93NUMPY"
_MAX_NPY_HEADER: Final = 4096
_MAX_NPY_AXES: Final = 8
_NPY_HEADER: Final = re.compile(
    rb"\{\s*'descr':\s*'(?P<descr>[^']{1,20})',\s*'fortran_order':\s*(?P<fortran>True|False),"
    rb"\s*'shape':\s*\((?P<shape>[\d\s,]{0,400})\)\s*+,?\s*+\}\s*"
)


def png(image: Pixels, level: int = 1) -> bytes:
    """The image [H, W, C] as a PNG, compressed at zlib `level`.

    Written here because Pillow takes eight times as long for a small image; rows are stored
    unfiltered, which for the images of these models is also the smallest.
    """
    height, width, channels = image.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each begins with its filter, 0
    rows[:, 1:] = image.reshape(height, width * channels)
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.data, level)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body))
        + kind
        + body
        + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
        for kind, body in chunks
    )


def grid(images: Pixels) -> Pixels:
    """N >= 1 images side by side, row by row: [rows * H, ceil(sqrt(N)) * W, C].

    There is no gap; places left over in the last row are black.
    """
    n, height, width, channels = images.shape
    columns = math.isqrt(n - 1) + 1
    rows = -(-n // columns)
    cells = np.zeros((rows * columns, height, width, channels), np.uint8)
    cells[:n] = images
    cells = cells.reshape(rows, columns, height, width, channels)
    return cells.swapaxes(1, 2).reshape(rows * height, columns * width, channels)


def webp_animation(frames: Pixels, fps: float) -> bytes:
    """Frames [N, H, W, C] as a lossless WebP that repeats for ever; a still where all are equal.

    Equal neighbours become one frame that is shown longer.
    Raises Unprocessable unless fps lies between MIN_FPS and MAX_FPS, and for frames too large for
    the format.
    """
    _check_sides(frames, "WEBP")
    kept, durations = _runs(frames, fps, unit=1)
    pictures = [_picture(frame).convert("RGB") for frame in kept]
    return _saved(pictures, durations, format="WEBP", lossless=True, quality=0, method=0)


def gif_animation(frames: Pixels, fps: float) -> bytes:
    """Frames [N, H, W, C] as a GIF that repeats for ever, at most 256 colours a frame, undithered.

    Grey is exact.  Otherwise as `webp_animation`, to 1/100 s.
    """
    _check_sides(frames, "GIF")
    kept, durations = _runs(frames, fps, unit=10)
    pictures = [_picture(frame) for frame in kept]
    if frames.shape[-1] == 3:
        pictures = [picture.quantize(dither=Image.Dither.NONE) for picture in pictures]
    durations = [min(duration, _MAX_GIF_MS) for duration in durations]
    return _saved(pictures, durations, format="GIF", optimize=False)


def zip_of_png(images: Pixels) -> bytes:
    """Images [N, H, W, C] as a zip of 0000.png, 0001.png, ..."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # PNGs shrink no further
        for i, image in enumerate(images):
            archive.writestr(zipfile.ZipInfo(f"{i:04}.png"), png(image))  # dated 1980: no clock
    return buffer.getvalue()


def npy(array: npt.NDArray[Any]) -> bytes:
    """The array as an .npy file."""
    array = np.asarray(array, order="C")
    header = BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    return b"".join((header.getvalue(), array.data.cast("B") if array.size else b""))


def read_npy(data: bytes, *, dtype: npt.DTypeLike, max_rows: int | None = None) -> npt.NDArray[Any]:
    """The array in an .npy file; a read-only view of `data` where that is possible.

    Nothing is believed that the header says: no pickles, and nothing allocated for a shape that
    the bytes do not fill.

    Args:
        data: The whole file.
        dtype: The only one allowed, in either byte order.
        max_rows: The longest first axis allowed.
    Raises:
        BadRequest: no .npy file, or its header and its length disagree.
        Unprocessable: another dtype, or no elements.
        TooLarge: more than `max_rows`.
    """
    wanted = np.dtype(dtype)
    start = {1: 10, 2: 12, 3: 12}.get(data[6] if len(data) > 12 else 0)
    if not data.startswith(_NPY_MAGIC) or start is None:
        raise BadRequest("no npy file: it does not begin as one")
    body = start + int.from_bytes(data[8:start], "little")
    if body > min(len(data), start + _MAX_NPY_HEADER):
        raise BadRequest(f"an npy file with a header of {body - start:,} bytes")
    header = _NPY_HEADER.fullmatch(data[start:body])
    if header is None:
        raise BadRequest("an npy file whose header is not that of a plain array")
    descr = header["descr"].decode("latin-1")
    if descr not in {f"{order}{wanted.kind}{wanted.itemsize}" for order in "<>=|"}:
        raise Unprocessable(f"an npy file of {descr!r}; this takes {wanted} ({wanted.str!r})")
    shape = _shape(header["shape"])
    announced, found = math.prod(shape) * wanted.itemsize, len(data) - body
    if announced != found:
        raise BadRequest(
            f"an npy file of {list(shape)} {wanted}, {announced:,} bytes, has {found:,}"
        )
    if not announced:
        raise Unprocessable(f"an npy file without elements: {list(shape)}")
    if len(shape) > _MAX_NPY_AXES:
        raise Unprocessable(f"an npy file of {len(shape)} axes; the limit is {_MAX_NPY_AXES}")
    if max_rows is not None and shape and shape[0] > max_rows:
        raise TooLarge(f"an npy file of {shape[0]:,} rows; the limit is {max_rows:,}")
    stored = wanted.newbyteorder(">" if descr[0] == ">" else "<")
    array = np.frombuffer(data, stored, offset=body)
    array = array.reshape(shape, order="F" if header["fortran"] == b"True" else "C")
    return np.require(array, wanted, ["C_CONTIGUOUS", "ALIGNED"])


def data_uri(png: bytes) -> str:
    """The PNG as a data URI."""
    return "data:image/png;base64," + binascii.b2a_base64(png, newline=False).decode("ascii")


def parse_data_uri(text: str) -> bytes:
    """The bytes in a base64 data URI, or in bare base64; line breaks are allowed in both.

    The media type is not looked at: the bytes say what they are.
    Raises Unprocessable for anything else; a URL is never fetched.
    """
    payload = text
    if text[:5].lower() == "data:":
        head, _, payload = text.partition(",")
        if not head.lower().endswith(";base64"):
            raise Unprocessable("a data URI that is not base64")
    elif "://" in text[:32]:
        raise Unprocessable("a URL: those are never fetched; send the image itself")
    try:
        return binascii.a2b_base64("".join(payload.split()), strict_mode=True)
    except ValueError as error:
        raise Unprocessable(
            f"an image is wanted, and this is neither a data URI nor base64: {error}"
        ) from error


def heat_map(heat: npt.NDArray[np.float32], full: float | None = None) -> Pixels:
    """Heat [H, W] as grey [H, W, 1]: 255 where it is `full`; None: 1, the largest there can be."""
    grey: Pixels = np.rint(np.clip(heat / (full or 1.0), 0, 1) * 255).astype(np.uint8)
    return grey[:, :, np.newaxis]


def overlay(image: Pixels, heat: npt.NDArray[np.float32], full: float | None = None) -> Pixels:
    """The image [H, W, C] in grey with its heat [H, W] glowing over it: RGB [H, W, 3].

    A pixel as hot as `full` is coloured fully, others in proportion.  Where that is not known, the
    hottest is if it reaches a quarter of the range.
    """
    full = full or max(float(heat.max()), _FULL_HEAT)
    glowing = np.empty((*image.shape[:2], 3), np.uint8)
    for start in range(0, len(image), _ROWS):  # a large frame in floating point would take much
        part = slice(start, start + _ROWS)
        grey = image[part].mean(axis=2, keepdims=True)
        strength = np.clip(heat[part] / full, 0, 1)
        colour = np.stack([np.interp(strength, _AT, channel) for channel in _INFERNO.T], axis=-1)
        opacity = 0.8 * strength[:, :, np.newaxis]
        glowing[part] = np.rint((1 - opacity) * grey + opacity * colour)
    return glowing


def _runs(frames: Pixels, fps: float, *, unit: int) -> tuple[list[Pixels], list[int]]:
    """Frames without equal neighbours, and how long each is shown, in ms and multiples of `unit`.

    Frame i begins at the multiple next to i / fps, so errors do not add up.
    """
    if not MIN_FPS <= fps <= MAX_FPS:
        raise Unprocessable(f"fps must be from {MIN_FPS:g} to {MAX_FPS:g}, got {fps:g}")
    first = [
        i for i in range(len(frames)) if i == 0 or not np.array_equal(frames[i], frames[i - 1])
    ]
    begins = [round(1000 * i / (fps * unit)) * unit for i in (*first, len(frames))]
    return [frames[i] for i in first], np.diff(begins).tolist()


def _check_sides(frames: Pixels, kind: str) -> None:
    height, width = frames.shape[1:3]
    if max(height, width) > _MAX_SIDES[kind]:
        raise Unprocessable(
            f"a picture of {width:,} x {height:,} pixels; {kind} has at most "
            f"{_MAX_SIDES[kind]:,} a side: ask for PNG or zip, or for fewer"
        )


def _picture(image: Pixels) -> Image.Image:
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _saved(pictures: Sequence[Image.Image], durations: list[int], **options: Any) -> bytes:
    """The pictures in one file; with durations and for ever where there is more than one."""
    buffer = BytesIO()
    if len(pictures) > 1:
        options |= {
            "save_all": True,
            "append_images": pictures[1:],
            "duration": durations,
            "loop": 0,
        }
    pictures[0].save(buffer, **options)
    return buffer.getvalue()


def _shape(text: bytes) -> tuple[int, ...]:
    """(3, 4) of b"3, 4" and (3,) of b"3,"."""
    sizes = text.split(b",")
    if not sizes[-1].strip():
        sizes.pop()
    try:
        return tuple(int(size) for size in sizes)
    except ValueError as error:
        raise BadRequest("an npy file whose header is not that of a plain array") from error
