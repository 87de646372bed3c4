"""Image files as cameras, scanners, editors and attackers make them, many built byte by byte.

HTTP_SOUND and FOLDER_SOUND hold files with the pixels a person would see, worked out here without
serving.images: [h, w, 1] for grey files, [h, w, 3] for colour, at the file's own size, alpha over
white and turned upright.  REFUSED holds files with the error they deserve.
"""

import struct
import zlib
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.errors import ServingError, TooLarge, Unprocessable, UnsupportedType

Pixels = npt.NDArray[np.uint8]
FOLDER_ONLY = ("GIF", "TIFF", "PPM")  # kinds that are read from folders and not over HTTP


class Sound(NamedTuple):
    name: str
    data: bytes
    pixels: Pixels
    tolerance: int = 0  # grey levels; lossy formats are not exact


class Refused(NamedTuple):
    name: str
    data: bytes
    error: type[ServingError]
    says: str


# --- Building blocks -------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int,
    height: int,
    bits: int,
    colour: int,
    rows: Iterable[bytes],
    *,
    before: bytes = b"",
    after: bytes = b"",
    interlaced: int = 0,
) -> bytes:
    """A PNG of unfiltered rows; `before` and `after` are chunks around the pixels."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + before
        + chunk(b"IDAT", pixels)
        + after
        + chunk(b"IEND", b"")
    )


def rgb_png(pixels: Pixels, **options: Any) -> bytes:
    """A PNG of 8-bit colour."""
    height, width, _ = pixels.shape
    return png(width, height, 8, 2, [row.tobytes() for row in pixels], **options)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The image as Pillow writes it."""
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    """An Exif block (TIFF, big-endian) with one entry: the orientation."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x112, 3, 1, orientation, 0, 0)


def segment(code: int, body: bytes) -> bytes:
    """One segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, code, len(body) + 2) + body


def jpeg(pixels: Pixels, **options: Any) -> bytes:
    """A JPEG of good quality; colour is not subsampled, so that it stays where it was."""
    return saved(Image.fromarray(pixels), "JPEG", quality=95, subsampling=0, **options)


def adobe_rgb() -> bytes:
    """A JPEG that stores RGB as such and numbers its channels 1, 2, 3, as those of YCbCr are."""
    data = bytearray(jpeg(QUARTERS, keep_rgb=True))
    for marker, first, step in ((b"\xff\xc0", 10, 3), (b"\xff\xda", 5, 2)):
        at = data.index(marker) + first
        assert data[at : at + 3 * step : step] == b"RGB"
        data[at : at + 3 * step : step] = b"\1\2\3"
    return bytes(data)


def in_jpeg(data: bytes, *segments: bytes) -> bytes:
    """The JPEG with more bytes behind its first segment, which is JFIF's and 18 bytes long."""
    return data[:20] + b"".join(segments) + data[20:]


def over_white(colour: npt.ArrayLike, alpha: npt.ArrayLike) -> Pixels:
    """c * a + 255 * (1 - a), rounded; alpha in 0..255."""
    a = np.asarray(alpha, np.float64) / 255
    seen: Pixels = np.rint(np.asarray(colour, np.float64) * a + 255 * (1 - a)).astype(np.uint8)
    return seen


def grey(*rows: list[int]) -> Pixels:
    """Rows of levels as [h, w, 1]."""
    return np.array(rows, np.uint8)[:, :, np.newaxis]


RNG = np.random.default_rng(20)
NOISE: Pixels = RNG.integers(0, 256, (5, 7, 3), np.uint8)
# Four quarters of 16 x 16 flat colour survive a lossy format nearly unchanged.
QUARTERS: Pixels = (
    np.array([[[255, 0, 0], [0, 160, 0]], [[0, 0, 255], [250, 250, 20]]], np.uint8)
    .repeat(16, axis=0)
    .repeat(16, axis=1)
)
TURNS: dict[int, Callable[[Any], Any]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],  # mirrored left to right
    3: lambda a: a[::-1, ::-1],  # upside down
    4: lambda a: a[::-1],  # mirrored top to bottom
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),  # a quarter turn clockwise
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],  # a quarter turn counter-clockwise
}


# --- Sound files -----------------------------------------------------------------------------


def png_depths() -> Iterable[Sound]:
    yield Sound("png 8-bit colour", rgb_png(NOISE), NOISE)
    yield Sound("png 1 x 1", rgb_png(NOISE[:1, :1]), NOISE[:1, :1])
    wide = RNG.integers(0, 256, (3, 1000, 3), np.uint8)
    yield Sound("png 1000 x 3", rgb_png(wide), wide)
    yield Sound("png 8-bit grey", png(3, 1, 8, 0, [b"\0\x7f\xff"]), grey([0, 127, 255]))
    yield Sound("png 1-bit", png(4, 1, 1, 0, [b"\x50"]), grey([0, 255, 0, 255]))
    yield Sound("png 2-bit grey", png(4, 1, 2, 0, [b"\x1b"]), grey([0, 85, 170, 255]))
    yield Sound("png 4-bit grey", png(4, 1, 4, 0, [b"\x01\xef"]), grey([0, 17, 238, 255]))
    # 65535 / 257 = 255; 128 is just under half a step of 257, 129 just over.
    deep = (0, 128, 129, 257, 385, 386, 30_000, 65_407, 65_535)
    levels = [0, 0, 1, 1, 1, 2, 117, 255, 255]
    yield Sound("png 16-bit grey", png(9, 1, 16, 0, [struct.pack(">9H", *deep)]), grey(levels))
    # Of 16-bit colour the high bytes count: Pillow reads no more.
    row = struct.pack(">6H", 0x12FF, 0xABCD, 0x0001, 0xFFFF, 0x8000, 0x7FFF)
    seen = np.array([[[0x12, 0xAB, 0], [0xFF, 0x80, 0x7F]]], np.uint8)
    yield Sound("png 16-bit colour", png(2, 1, 16, 2, [row]), seen)
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
              (1, 0, 2, 1)]  # fmt: skip
    adam7 = [NOISE[y::dy, x::dx] for y, x, dy, dx in passes]
    rows = [row.tobytes() for part in adam7 if part.size for row in part]
    yield Sound("png interlaced", png(7, 5, 8, 2, rows, interlaced=1), NOISE)


def png_alpha() -> Iterable[Sound]:
    plte = chunk(b"PLTE", bytes([0, 0, 0, 255, 0, 0, 0, 200, 0, 10, 20, 30]))
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 200, 0], [10, 20, 30]])
    yield Sound(
        "png palette", png(4, 1, 2, 3, [b"\x1b"], before=plte), colours[np.newaxis].astype(np.uint8)
    )
    alpha = [[0], [128], [255], [255]]
    yield Sound(
        "png palette, half transparent",
        png(4, 1, 8, 3, [b"\0\1\2\3"], before=plte + chunk(b"tRNS", b"\0\x80")),
        over_white(colours, alpha)[np.newaxis],
    )
    yield Sound(
        "png palette, one transparent",
        png(4, 1, 2, 3, [b"\x1b"], before=plte + chunk(b"tRNS", b"\xff\0")),
        over_white(colours, [[255], [0], [255], [255]])[np.newaxis],
    )
    la = np.array([[[0, 255], [0, 0], [100, 51], [200, 254]]], np.uint8)
    yield Sound(
        "png grey with alpha",
        png(4, 1, 8, 4, [la.tobytes()]),
        over_white(la[:, :, :1], la[:, :, 1:]),
    )
    rgba = RNG.integers(0, 256, (5, 7, 4), np.uint8)
    seen = over_white(rgba[:, :, :3], rgba[:, :, 3:])
    yield Sound("png colour with alpha", png(7, 5, 8, 6, [r.tobytes() for r in rgba]), seen)
    deep = (rgba * np.uint16(256) + np.uint16(99)).astype(">u2")
    yield Sound("png 16-bit colour with alpha", png(7, 5, 16, 6, [r.tobytes() for r in deep]), seen)
    # The transparent colour is written at the file's depth, so 2 of 2 bits is level 170.
    keys = [(1, b"\x50", 1, [0, 255, 0, 255]), (2, b"\x1b", 2, [0, 85, 255, 255]),
            (4, b"\x01\xef", 1, [0, 255, 238, 255]), (8, b"\0\1\2\3", 2, [0, 1, 255, 3]),
            (16, struct.pack(">4H", 0, 514, 770, 515), 770, [0, 2, 255, 2])]  # fmt: skip
    for bits, row, level, levels in keys:
        data = png(4, 1, bits, 0, [row], before=chunk(b"tRNS", struct.pack(">H", level)))
        yield Sound(f"png {bits}-bit grey, one level transparent", data, grey(levels))
    key = chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))
    yield Sound(
        "png colour, one transparent",
        png(2, 1, 8, 2, [b"\1\2\3\1\2\4"], before=key),
        np.array([[[255, 255, 255], [1, 2, 4]]], np.uint8),
    )
    key = chunk(b"tRNS", struct.pack(">3H", 0x1000, 0x2000, 0x3000))
    row = struct.pack(">6H", 0x1000, 0x2000, 0x3000, 0x1000, 0x2000, 0x4000)
    yield Sound(
        "png 16-bit colour, one transparent",
        png(2, 1, 16, 2, [row], before=key),
        np.array([[[255, 255, 255], [0x10, 0x20, 0x40]]], np.uint8),
    )


def png_chunks() -> Iterable[Sound]:
    long = b"Comment\0\1\0\0\0" + zlib.compress(bytes(20_000_000))
    yield Sound("png with 20 MB of packed text", rgb_png(NOISE, before=chunk(b"iTXt", long)), NOISE)
    yield Sound("png with it behind", rgb_png(NOISE, after=chunk(b"iTXt", long)), NOISE)
    plain = b"Comment\0\0\0\0\0" + b"x" * 3_000_000
    yield Sound("png with 3 MB of text", rgb_png(NOISE, before=chunk(b"iTXt", plain)), NOISE)
    profile = b"icc\0\0" + zlib.compress(bytes(3_000_000))
    yield Sound("png with a long profile", rgb_png(NOISE, before=chunk(b"iCCP", profile)), NOISE)
    # Pillow stores text among what it knows of the image, so these keys would steer it.
    for key in (b"transparency", b"bbox", b"interlace", b"exif", b"icc_profile", b"default_image"):
        data = rgb_png(NOISE, before=chunk(b"tEXt", key + b"\0\1\2\3"))
        yield Sound(f"png with text called {key.decode()}", data, NOISE)
    actl = chunk(b"acTL", struct.pack(">II", 1, 0))
    yield Sound("png animated, of one frame", rgb_png(NOISE, before=actl), NOISE)
    broken = chunk(b"acTL", struct.pack(">II", 0, 0)) * 2
    yield Sound("png with a senseless animation", rgb_png(NOISE, before=broken), NOISE)
    private = chunk(b"prVt", b"x") + chunk(b"gAMA", b"\0\0\xb1\x8f") + chunk(b"tIME", bytes(7))
    yield Sound("png with private chunks", rgb_png(NOISE, before=private, after=private), NOISE)
    yield Sound("png with bytes behind its end", rgb_png(NOISE) + b"PK\3\4 more", NOISE)
    bad = chunk(b"tEXt", b"a\0b")[:-1] + b"!"
    yield Sound("png with a wrong checksum in a comment", rgb_png(NOISE, before=bad), NOISE)


def turned() -> Iterable[Sound]:
    for number, turn in TURNS.items():
        data = rgb_png(NOISE, before=chunk(b"eXIf", exif(number)))
        yield Sound(f"png turned {number}", data, turn(NOISE))
        data = jpeg(QUARTERS, exif=b"Exif\0\0" + exif(number))
        yield Sound(f"jpeg turned {number}", data, turn(QUARTERS), 4)
    behind = rgb_png(NOISE, after=chunk(b"eXIf", exif(6)))
    yield Sound("png turned, said behind its pixels", behind, TURNS[6](NOISE))
    webp = saved(Image.fromarray(NOISE), "WEBP", lossless=True, exif=exif(8))
    yield Sound("webp turned 8", webp, TURNS[8](NOISE))
    for name, block in {
        "an unknown orientation": exif(9),
        "broken Exif": exif(6)[:11],
        "Exif that points nowhere": b"MM\0*\xff\xff\xff\xff",
        "Exif that is none": b"hello",
        "empty Exif": b"",
    }.items():
        yield Sound(f"png with {name}", rgb_png(NOISE, before=chunk(b"eXIf", block)), NOISE)
        data = in_jpeg(jpeg(QUARTERS), segment(0xE1, b"Exif\0\0" + block))
        yield Sound(f"jpeg with {name}", data, QUARTERS, 4)


def jpegs() -> Iterable[Sound]:
    plain = jpeg(QUARTERS)
    scan = plain.index(b"\xff\xda")
    notes = [segment(0xFE, b"note"), segment(0xE5, bytes(9)), segment(0xEC, b"")]
    icc = bytes(RNG.integers(0, 256, 200_000, np.uint8))  # of no known profile, in four segments
    other = Image.fromarray(255 - QUARTERS)
    for name, data in {
        "jpeg": plain,
        "jpeg progressive": jpeg(QUARTERS, progressive=True),
        "jpeg of RGB, which Adobe's segment alone tells": adobe_rgb(),
        "jpeg with restart markers": jpeg(QUARTERS, restart_marker_blocks=1),
        "jpeg with a profile": jpeg(QUARTERS, icc_profile=icc),
        "jpeg with comments": in_jpeg(plain, *notes * 50),
        "jpeg with fill bytes": in_jpeg(plain, b"\xff" * 5000),
        "jpeg with junk before a segment": in_jpeg(plain, b"\0junk" * 99),
        "jpeg with fill bytes before its scan": plain[:scan] + b"\xff\xff\xff" + plain[scan:],
        "jpeg with junk before its scan": plain[:scan] + b"\0junk" + plain[scan:],
        "jpeg with bytes behind its end": plain + b"\0" * 100,
        "jpeg with a film behind its end": plain + b"\0\0\0\x18ftypmp42" + b"\xff\xda\x01" * 500,
        "mpo, of which the first counts": saved(
            Image.fromarray(QUARTERS), "MPO", quality=95, subsampling=0,
            save_all=True, append_images=[other],
        ),
    }.items():  # fmt: skip
        yield Sound(name, data, QUARTERS, 4)
    halved = saved(Image.fromarray(QUARTERS), "JPEG", subsampling=2)
    yield Sound("jpeg, colour halved", halved, np.asarray(Image.open(BytesIO(halved))))
    levels = QUARTERS[:, :, :1]
    yield Sound("jpeg grey", jpeg(levels[:, :, 0]), levels, 4)
    # C M Y K: paper white, red; black by its own ink, half of cyan under half of black.
    inks = np.array([[[0, 0, 0, 0], [0, 255, 255, 0]], [[0, 0, 0, 255], [128, 0, 0, 128]]])
    seen = np.array([[[255, 255, 255], [255, 0, 0]], [[0, 0, 0], [63, 127, 127]]])
    inks, seen = (a.astype(np.uint8).repeat(16, axis=0).repeat(16, axis=1) for a in (inks, seen))
    cmyk = saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=95)
    yield Sound("jpeg cmyk", cmyk, seen, 4)


def bmp(width: int, height: int, bits: int, body: bytes, *, packing: int = 0) -> bytes:
    """A BMP with a header of 40 bytes; a negative height means that rows run downwards."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, packing, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54) + header + body


def others() -> Iterable[Sound]:
    rows = [row[:, ::-1].tobytes() + bytes(3) for row in NOISE]  # BGR, rows padded to 4 bytes
    yield Sound("bmp", bmp(7, 5, 24, b"".join(rows[::-1])), NOISE)
    yield Sound("bmp top down", bmp(7, -5, 24, b"".join(rows)), NOISE)
    levels = NOISE[:, :, :1]
    yield Sound("bmp grey", saved(Image.fromarray(levels[:, :, 0]), "BMP"), levels)
    image = Image.fromarray(NOISE)
    yield Sound("webp lossless", saved(image, "WEBP", lossless=True), NOISE)
    quarters = saved(Image.fromarray(QUARTERS), "WEBP", quality=95)
    yield Sound("webp lossy", quarters, np.asarray(Image.open(BytesIO(quarters))))
    rgba = RNG.integers(0, 256, (5, 7, 4), np.uint8)
    seen = over_white(rgba[:, :, :3], rgba[:, :, 3:])
    transparent = saved(Image.fromarray(rgba), "WEBP", lossless=True, exact=True)
    yield Sound("webp with alpha", transparent, seen)


def of_folders() -> Iterable[Sound]:
    """Kinds that are read from folders alone."""
    levels = NOISE[:, :, :1]
    image, flat = Image.fromarray(NOISE), Image.fromarray(levels[:, :, 0])
    yield Sound("gif", saved(flat, "GIF"), levels)
    clear = levels.copy()
    clear[levels == levels[0, 0, 0]] = 255
    data = saved(flat, "GIF", transparency=int(levels[0, 0, 0]))
    yield Sound("gif, one level transparent", data, clear)
    yield Sound("tiff", saved(image, "TIFF", compression="tiff_lzw"), NOISE)
    deep = np.array([[0, 128, 129], [257, 30_000, 65_535]], np.uint16)
    yield Sound("tiff 16-bit", saved(Image.fromarray(deep), "TIFF"), grey([0, 0, 1], [1, 117, 255]))
    upright = saved(image, "TIFF", tiffinfo={0x112: 6})
    yield Sound("tiff turned 6", upright, TURNS[6](NOISE))
    yield Sound("ppm", b"P6 7 5 255\n" + NOISE.tobytes(), NOISE)
    yield Sound("pgm", b"P5\n# a note\n7 5\n255\n" + levels.tobytes(), levels)
    yield Sound(
        "pgm 16-bit",
        b"P5 3 2 65535\n" + deep.astype(">u2").tobytes(),
        grey([0, 0, 1], [1, 117, 255]),
    )


# --- Files that are refused ------------------------------------------------------------------


def refused() -> Iterable[Refused]:
    yield Refused("nothing", b"", Unprocessable, "zero bytes")
    for name, data in {
        "text": b"hello, I am a picture",
        "html": b"<!DOCTYPE html><html></html>",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "pdf": b"%PDF-1.7\n",
        "zeros": bytes(1000),
        "half a signature": b"\x89PNG",
    }.items():
        yield Refused(name, data, Unprocessable, "no known kind")
    yield from animations()
    yield from cut_short()
    yield from bombs()
    for name, data in {
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0",
        "avif": b"\0\0\0\x1cftypavif\0\0\0\0",
        "jpeg xl": b"\xff\x0a\0\0",
        "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
        "photoshop": b"8BPS\0\1",
    }.items():
        yield Refused(name, data, UnsupportedType, "this reads PNG, JPEG, WEBP, BMP")
    critical = rgb_png(NOISE, before=chunk(b"CgBI", b"\0\0\0\0"))
    yield Refused(
        "png as iPhones pack it", critical, Unprocessable, "unknown critical chunk b'CgBI'"
    )
    headless = b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    yield Refused("png without header", headless, Unprocessable, "without its header")
    yield Refused("png of no size", rgb_png(NOISE[:0]), Unprocessable, "cannot be decoded (PNG)")
    colourless = png(1, 1, 8, 3, [b"\0"])
    yield Refused("png without its palette", colourless, Unprocessable, "without a palette")
    odd = png(1, 1, 3, 0, [b"\0"])
    yield Refused("png of 3 bits", odd, Unprocessable, "cannot be decoded (PNG)")
    packed = bmp(7, 5, 8, bytes(100), packing=1)
    yield Refused("bmp run-length coded", packed, UnsupportedType, "run-length coded BMP")
    yield Refused("bmp of negative width", bmp(-7, 5, 24, bytes(99)), TooLarge, "4,294,967,289 x 5")


def animations() -> Iterable[Refused]:
    first, second = Image.fromarray(QUARTERS), Image.fromarray(255 - QUARTERS)
    for kind in ("PNG", "WEBP", "GIF"):
        data = saved(first, kind, save_all=True, append_images=[second], duration=50)
        says = "animated PNG" if kind == "PNG" else "more than one frame (WEBP)"
        says = "an image of kind GIF; this reads" if kind == "GIF" else says
        yield Refused(f"{kind.lower()} animated", data, UnsupportedType, says)


def cut_short() -> Iterable[Refused]:
    noise = RNG.integers(0, 256, (40, 40, 3), np.uint8)
    image = Image.fromarray(noise)
    for kind in ("PNG", "JPEG", "WEBP", "BMP"):
        data = saved(image, kind)
        for part in (0.1, 0.5, 0.9):
            cut = data[: int(len(data) * part)]
            yield Refused(f"{kind.lower()}, {part:.0%} of it", cut, Unprocessable, "")
    progressive = saved(image, "JPEG", progressive=True)
    yield Refused("jpeg progressive, half", progressive[: len(progressive) // 2], Unprocessable, "")
    yield Refused(
        "jpeg, its start alone", b"\xff\xd8\xff", Unprocessable, "before its pixels begin"
    )
    yield Refused("jpeg that ends at once", b"\xff\xd8\xff\xd9", Unprocessable, "before its pixels")
    yield Refused("jpeg that promises a segment", b"\xff\xd8\xff\xe0\xff\xff", Unprocessable, "")


def bombs() -> Iterable[Refused]:
    """Small files that would be large, or take long."""
    row = zlib.compressobj(9)
    body = b"".join(row.compress(bytes(2501)) for _ in range(20_000)) + row.flush()
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    says = "20,000 x 20,000 = 400,000,000 pixels; the limit is 64,000,000"
    yield Refused("png of 20,000 x 20,000", b"\x89PNG\r\n\x1a\n" + parts, TooLarge, says)
    says = "2,147,483,647 x 2,147,483,647"
    side = (1 << 31) - 1
    yield Refused("png that lies about its size", png(side, side, 8, 2, []), TooLarge, says)
    yield Refused("bmp that lies", bmp(50_000, 50_000, 24, b""), TooLarge, "50,000 x 50,000")
    canvas = struct.pack("<I", 10) + b"\x10\0\0\0" + b"\xff" * 6  # 2^24 x 2^24, with alpha
    webp = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + canvas
    yield Refused("webp of 2^48 pixels", webp, TooLarge, "16,777,216 x 16,777,216")
    lossless = struct.pack("<I", 5) + b"\x2f\xff\xff\xff\x0f"  # 14 bits a side
    webp = b"RIFF" + struct.pack("<I", 17) + b"WEBPVP8L" + lossless
    yield Refused("webp lossless of 2^28 pixels", webp, TooLarge, "16,384 x 16,384")
    lossy = struct.pack("<I", 10) + b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", 16_383, 16_383)
    webp = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8 " + lossy
    yield Refused("webp lossy of 2^28 pixels", webp, TooLarge, "16,383 x 16,383")
    ribbon = png(2_000_000, 1, 8, 0, [bytes(2_000_000)])
    yield Refused("png of 2,000,000 x 1", ribbon, TooLarge, "a side of 2,000,000 pixels")
    plain = jpeg(QUARTERS)
    wide = plain.replace(struct.pack(">HH", 32, 32), struct.pack(">HH", 65_500, 65_500), 1)
    yield Refused("jpeg that lies about its size", wide, TooLarge, "65,500 x 65,500")
    chunks = rgb_png(NOISE, before=chunk(b"tEXt", b"a\0") * 70_000)
    yield Refused("png of 70,000 chunks", chunks, Unprocessable, "more than 65,536 chunks")
    segments = in_jpeg(plain, segment(0xE5, b"") * 70_000)
    yield Refused("jpeg of 70,000 segments", segments, Unprocessable, "more than 65,536 segments")
    progressive = saved(Image.fromarray(QUARTERS), "JPEG", progressive=True)
    scans = [at for at in range(len(progressive)) if progressive.startswith(b"\xff\xda", at)]
    last = progressive[scans[-1] : -2]
    many = progressive[:-2] + last * 200 + b"\xff\xd9"
    yield Refused("jpeg of 200 scans", many, Unprocessable, "more than 100 scans")
    # An end inside a comment is no end.
    masked = progressive[:-2] + segment(0xFE, b"\xff\xd9") + last * 200 + b"\xff\xd9"
    yield Refused("jpeg of 200 scans, masked", masked, Unprocessable, "more than 100 scans")


HTTP_SOUND = [
    sound for make in (png_depths, png_alpha, png_chunks, turned, jpegs, others) for sound in make()
]
FOLDER_SOUND = list(of_folders())
REFUSED = list(refused())
