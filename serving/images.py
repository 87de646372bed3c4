"""Image files to uint8 arrays of a model's size: one path for training and serving alike.

The order is fixed: header, limit, pixels, Exif turn, 16 bits to 8, alpha over white, colour, fit.
The bytes decide what a file is, and only the parser of that kind is ever called.  Nothing here
writes to shared state after import, so any number of threads may decode at once.
"""

import struct
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from serving import containers
from serving.errors import TooLarge, Unprocessable, UnsupportedType
from serving.image_spec import Fit, ImageSpec, Pixels
from serving.jpeg import small_jpeg

__all__ = [
    "FOLDER_FORMATS",
    "FOLDER_SUFFIXES",
    "HTTP_FORMATS",
    "MAX_PIXELS",
    "Fit",
    "ImageSpec",
    "Pixels",
    "convert",
    "decode",
    "decode_frame",
    "fit_array",
    "mirrored",
]

HTTP_FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP")
FOLDER_FORMATS: Final = (*HTTP_FORMATS, "GIF", "TIFF", "PPM")
FOLDER_SUFFIXES: Final = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm")
)
MAX_PIXELS: Final = 64_000_000

# The classes, not Image.open: that tries parsers in turn, makes an MPO an animation, and has a
# limit of its own in a module variable.
_PARSERS: Final[Mapping[str, Callable[[BytesIO], ImageFile]]] = MappingProxyType(
    {
        "PNG": PngImageFile,
        "JPEG": JpegImageFile,
        "WEBP": WebPImageFile,
        "BMP": BmpImageFile,
        "GIF": GifImageFile,
        "TIFF": TiffImageFile,
        "PPM": PpmImageFile,
    }
)

# What Pillow's parsers raise on bytes that are wrong: seen under fuzzing, or read in their source.
_DAMAGE: Final = (
    OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError,
    struct.error,
)  # fmt: skip

_TURNS: Final = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)

_BYTE_MODES: Final = frozenset(
    ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")
)
_GREY_OF_16_BITS: Final = ((np.arange(65_536) + 128) // 257).astype(np.uint8)  # v / 257, rounded
_KEY_SCALE: Final = MappingProxyType({2: 85, 4: 17})  # bits of a grey PNG: a grey level's step

# Pillow warns where it mends a file, in words that the file chooses.  Each new text would be
# printed and remembered for ever, so whoever sends them could fill log and memory.
warnings.filterwarnings("ignore", module=r"PIL\.")


def decode(
    data: bytes,
    spec: ImageSpec,
    *,
    max_pixels: int = MAX_PIXELS,
    formats: Collection[str] = HTTP_FORMATS,
) -> Pixels:
    """The image in `data` as uint8 [H, W, C]; read-only.

    Raises:
        UnsupportedType: an image, but of no kind in `formats`, or with more than one frame.
        TooLarge: the header announces more than `max_pixels`; no pixel was decoded.
        Unprocessable: no image, or a damaged one.
    """
    kind = _kind(data, formats)
    if kind == "JPEG":
        data = containers.essential_jpeg(data)
        if (pixels := small_jpeg(data, max_pixels)) is not None:
            return fit_array(pixels, spec)
    return _converted(_loaded(data, kind, max_pixels), spec)


def decode_frame(
    data: bytes,
    channels: int,
    *,
    max_pixels: int = MAX_PIXELS,
    formats: Collection[str] = HTTP_FORMATS,
) -> Pixels:
    """The image in `data` at its own size, uint8 [h, w, C]; read-only.  Raises as `decode` does."""
    kind = _kind(data, formats)
    if kind == "JPEG":
        data = containers.essential_jpeg(data)
    image = _coloured(_turned(_loaded(data, kind, max_pixels)), "L" if channels == 1 else "RGB")
    return _array(image)


def mirrored(pixels: Pixels, height: int, width: int) -> Pixels:
    """Pixels [h, w, C], continued to the right and below by their mirror image where they are less
    than so many."""
    short = [
        (0, max(0, wanted - had))
        for wanted, had in ((height, len(pixels)), (width, pixels.shape[1]))
    ]
    return np.pad(pixels, (*short, (0, 0)), mode="symmetric")


def convert(image: Image.Image, spec: ImageSpec) -> Pixels:
    """The opened image as uint8 [H, W, C], by the same path as `decode`; read-only.

    Raises Unprocessable if its pixels cannot be decoded or have no 8-bit meaning.
    """
    with _damage_reported(image.format or "in memory"):
        image.load()
    return _converted(image, spec)


def fit_array(array: Pixels, spec: ImageSpec) -> Pixels:
    """Pixels [h, w], [h, w, 1], [h, w, 3] or [h, w, 4] as uint8 [H, W, C], by the same path.

    An array that already has the model's size and channels comes back as it is.
    Raises Unprocessable for another shape or dtype.
    """
    if array.dtype != np.uint8:
        raise Unprocessable(f"pixels must be uint8, got {array.dtype}")
    if array.shape == spec.shape:
        return array
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or not array.size:
        raise Unprocessable(
            f"pixels must be [h, w], [h, w, 1], [h, w, 3] or [h, w, 4], got {list(array.shape)}"
        )
    if (*array.shape, 1) == spec.shape:
        return array[:, :, np.newaxis]
    return convert(Image.fromarray(array), spec)


def _kind(data: bytes, formats: Collection[str]) -> str:
    """What the bytes are, if that is among `formats`."""
    if not data:
        raise Unprocessable("no image: zero bytes")
    kind = containers.kind_of(data)
    if kind is None:
        raise Unprocessable("no image: the bytes begin as no known kind does")
    if kind not in formats:
        raise UnsupportedType(f"an image of kind {kind}; this reads {', '.join(formats)}")
    return kind


def _loaded(data: bytes, kind: str, max_pixels: int) -> ImageFile:
    """The image, its pixels decoded and not converted yet."""
    with _damage_reported(kind):
        image = _open(data, kind, max_pixels)
        containers.check_size(*image.size, max_pixels)
        if getattr(image, "is_animated", False):
            raise UnsupportedType(f"an image of more than one frame ({kind}); send one of them")
        image.load()
    if kind == "PNG":
        _mend_colour_key(image, bits=data[24])
    return image


def _open(data: bytes, kind: str, max_pixels: int) -> ImageFile:
    """The image, its header read and its pixels not."""
    if kind == "PNG":
        data = containers.essential_png(data)
    elif kind == "BMP":
        data = containers.plain_bmp(data)
    elif kind == "WEBP":
        data = containers.modest_webp(data, max_pixels=max_pixels)
    return _PARSERS[kind](BytesIO(data))


def _mend_colour_key(image: Image.Image, *, bits: int) -> None:
    """Scale a PNG's transparent colour as its pixels are scaled; Pillow forgets to.

    Of 16-bit colour Pillow keeps the high bytes, so the key can only be matched by those.
    """
    key = image.info.get("transparency")
    if isinstance(key, int) and image.mode == "L":
        image.info["transparency"] = key * _KEY_SCALE.get(bits, 1) & 0xFF
    elif isinstance(key, tuple):
        image.info["transparency"] = tuple((v >> 8 if bits == 16 else v) & 0xFF for v in key)


def _converted(image: Image.Image, spec: ImageSpec) -> Pixels:
    """The loaded image (a PNG may keep its Exif after its pixels) as uint8 [H, W, C]."""
    image = _coloured(_turned(image), "L" if spec.channels == 1 else "RGB")
    return _array(_fitted(image, spec))


def _array(image: Image.Image) -> Pixels:
    """An L or RGB image as [h, w, C]."""
    shape = (image.height, image.width, len(image.getbands()))
    return np.frombuffer(image.tobytes(), np.uint8).reshape(shape)


def _turned(image: Image.Image) -> Image.Image:
    """The image as its Exif orientation says it was seen; as it is where Exif is unreadable."""
    try:
        turn = _TURNS.get(image.getexif().get(Base.Orientation, 1))
    except _DAMAGE:
        return image
    return image if turn is None else image.transpose(turn)


def _coloured(image: Image.Image, mode: Literal["L", "RGB"]) -> Image.Image:
    """The image in `mode`: deep grey to 8 bits, alpha over white, CMYK and palettes resolved."""
    if image.mode.startswith("I"):
        image = _shallow(image)
    elif image.mode not in _BYTE_MODES:
        raise Unprocessable(f"an image of {image.mode} pixels, which have no 8-bit meaning here")
    elif image.mode in ("P", "PA") and image.palette is None:
        raise Unprocessable("an image of palette indices without a palette")
    elif image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA", "La")
        image = image.convert("LA" if grey else "RGBA")
        opaque = image.convert("L" if grey else "RGB")
        alpha = image.getchannel("A")
        image = Image.new(opaque.mode, opaque.size, "white")
        image.paste(opaque, mask=alpha)
    elif image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _shallow(image: Image.Image) -> Image.Image:
    """Grey of 16 bits as 8 bits, 65535 to 255, rounded; a transparent level becomes white."""
    deep = np.asarray(image)
    if image.mode == "I" and not 0 <= deep.min() <= deep.max() <= 65_535:
        raise Unprocessable("an image of 32-bit pixels beyond 0..65535")
    grey = _GREY_OF_16_BITS[deep]
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey[deep == key] = 255
    return Image.fromarray(grey)


def _fitted(image: Image.Image, spec: ImageSpec) -> Image.Image:
    """An L or RGB image at the model's size; not resampled where it has that size already."""
    (w, h), (width, height) = image.size, (spec.width, spec.height)
    if (w, h) == (width, height):
        return image
    if spec.fit == "stretch":
        return image.resize((width, height), Image.Resampling.LANCZOS)
    wide = w * height >= h * width  # wider than the model's images, for its height
    if spec.fit == "crop":
        if (h == height) if wide else (w == width):  # the short side fits: cut, do not resample
            left, top = (w - width) // 2, (h - height) // 2
            return image.crop((left, top, left + width, top + height))
        # Crop and scale at once: a long thin image never exists at its scaled length.
        box_w, box_h = (h * width / height, h) if wide else (w, w * height / width)
        box = ((w - box_w) / 2, (h - box_h) / 2, (w + box_w) / 2, (h + box_h) / 2)
        return image.resize((width, height), Image.Resampling.LANCZOS, box=box)
    if w > width or h > height:
        if wide:
            w, h = width, max(1, round(h * width / w))
        else:
            w, h = max(1, round(w * height / h)), height
        image = image.resize((w, h), Image.Resampling.LANCZOS)
    colour = spec.levels[0] if image.mode == "L" else (spec.levels * 3)[:3]
    canvas = Image.new(image.mode, (width, height), colour)
    canvas.paste(image, ((width - w) // 2, (height - h) // 2))
    return canvas


@contextmanager
def _damage_reported(kind: str) -> Iterator[None]:
    """Say what Pillow stumbles over as a refusal."""
    try:
        yield
    except (Image.DecompressionBombError, MemoryError) as error:
        raise TooLarge(f"an image too large to decode ({kind}): {str(error)[:200]}") from error
    except _DAMAGE as error:
        reason = f"{error}"[:200] or type(error).__name__
        raise Unprocessable(f"an image that cannot be decoded ({kind}): {reason}") from error
