"""What an image file holds, looked at before a decoder sees it.

A decoder trusts its file.  Pillow keeps every text chunk of a PNG and every segment of a JPEG
(millions of empty ones become gigabytes), lets a text chunk called "transparency" set the image's
transparency, and walks all scans of a progressive JPEG, however many.  So the containers are read
here first, by their lengths alone, and only the parts that bear on the pixels are handed on.
"""

import re
import struct
from typing import Final

from serving.errors import TooLarge, Unprocessable, UnsupportedType

MAX_PARTS: Final = 65_536  # chunks of a PNG, segments of a JPEG; 64 MiB in 8 KiB chunks is 8,192
MAX_SCANS: Final = 100  # passes over a progressive JPEG; encoders make about 10
MAX_SIDE: Final = 1 << 20  # Pillow resizes in 32-bit floats, which lose whole pixels from 2^24 on

_SIGNATURES: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WEBP"),
    (re.compile(rb"BM"), "BMP"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), "TIFF"),
    (re.compile(rb"P[1-6]\s"), "PPM"),
    # Known by sight and never read.
    (re.compile(rb"....ftyp(avif|avis)", re.DOTALL), "AVIF"),
    (re.compile(rb"....ftyp(hei[cfmsx]|hev[cmsx]|mif1|msf1)", re.DOTALL), "HEIC"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "JPEG XL"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"8BPS"), "PSD"),
)

_PNG_KEPT: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"})
_ANCILLARY: Final = 0x20  # this bit of a chunk's first letter: a decoder may skip it

# A marker is 0xFF, perhaps repeated, and a byte that is neither 0xFF nor 0 (a stuffed zero).  Those
# without a length (TEM, RST0 to RST7, SOI) are passed over.
_JPEG_MARKER: Final = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])", re.DOTALL)
_JPEG_EOI, _JPEG_SOS, _JPEG_APP1 = 0xD9, 0xDA, 0xE1
# SOF, DHT, DAC, SOS, DQT, DRI; APP0 and APP14, which decide how colours are stored.
_JPEG_KEPT: Final = frozenset({*range(0xC0, 0xD0), _JPEG_SOS, 0xDB, 0xDD, 0xE0, 0xEE})


def kind_of(data: bytes) -> str | None:
    """The kind of image that the first bytes announce, "PNG" say; None if it is no known one."""
    return next((kind for signature, kind in _SIGNATURES if signature.match(data)), None)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises TooLarge, with the limit, for an image of more pixels or with a longer side."""
    if width * height > max_pixels:
        raise TooLarge(
            f"an image of {width:,} x {height:,} = {width * height:,} pixels; "
            f"the limit is {max_pixels:,} pixels"
        )
    if max(width, height) > MAX_SIDE:
        raise TooLarge(
            f"an image with a side of {max(width, height):,} pixels; "
            f"the limit is {MAX_SIDE:,} pixels"
        )


def essential_png(data: bytes) -> bytes:
    """The PNG without text, profile, animation and private chunks; `data` itself if it has none.

    Raises:
        UnsupportedType: it is animated.
        Unprocessable: it does not begin with its header, has a critical chunk that nobody knows,
            or too many chunks.
    """
    if data[12:16] != b"IHDR":
        raise Unprocessable("a PNG without its header")
    kept: list[memoryview] = []
    view, at, kept_from = memoryview(data), 8, 0
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            break  # ends early: the decoder judges what is there
        (length,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        if kind == b"IEND":
            break
        end = at + 12 + length  # length, kind and checksum have 4 bytes each
        if kind not in _PNG_KEPT:
            if not kind[0] & _ANCILLARY:
                raise Unprocessable(f"a PNG with an unknown critical chunk {kind!r}")
            if kind == b"acTL" and int.from_bytes(data[at + 8 : at + 12], "big") > 1:
                raise UnsupportedType("an animated PNG; send one frame of it")
            if at > kept_from:
                kept.append(view[kept_from:at])
            kept_from = end
        at = end
    else:
        raise Unprocessable(f"a PNG of more than {MAX_PARTS:,} chunks")
    return b"".join([*kept, view[kept_from:]]) if kept_from else data


def essential_jpeg(data: bytes) -> bytes:
    """The JPEG without comments, profiles, previews and other makers' segments; Exif stays.

    Behind the image's end nothing is looked at: phones keep more images (MPO) and films there.

    Raises:
        Unprocessable: no scan is found, or too many segments or scans.
    """
    kept: list[memoryview] = []
    view, at, kept_from, scans = memoryview(data), 2, 0, 0
    for _ in range(MAX_PARTS):
        marker = _JPEG_MARKER.search(data, at)
        if marker is None or (code := data[marker.end() - 1]) == _JPEG_EOI:
            break  # if it ends early, the decoder judges what is there
        start, end = marker.span()
        end += max(2, int.from_bytes(data[end : end + 2], "big"))
        if code == _JPEG_APP1:
            wanted = data.startswith(b"Exif\0", start + 4)
        else:
            wanted = code in _JPEG_KEPT
        if not scans and (not wanted or start > at):  # start > at: junk lies between segments
            if at > kept_from:
                kept.append(view[kept_from:at])
            kept_from = start if wanted else end
        scans += code == _JPEG_SOS
        if scans > MAX_SCANS:
            raise Unprocessable(f"a JPEG of more than {MAX_SCANS} scans")
        at = end
    else:
        raise Unprocessable(f"a JPEG of more than {MAX_PARTS:,} segments")
    if not scans:
        raise Unprocessable("a JPEG that ends before its pixels begin")
    return b"".join([*kept, view[kept_from:]]) if kept_from else data


def plain_bmp(data: bytes) -> bytes:
    """The BMP, as it is.

    Raises UnsupportedType for a run-length coded one: Pillow decodes those in Python, byte by byte
    and holding the interpreter, for half a minute at 64 MiB.
    """
    header, packing = struct.unpack_from("<14xI12xI", data[:34].ljust(34, b"\0"))
    if header >= 40 and packing in (1, 2):
        raise UnsupportedType("a run-length coded BMP; send it uncompressed, or as a PNG")
    return data


def modest_webp(data: bytes, *, max_pixels: int) -> bytes:
    """The WebP, as it is.

    Raises TooLarge if its header announces more than `max_pixels`: the decoder allocates the whole
    canvas twice as soon as the file is opened.
    """
    head = data[:30].ljust(30, b"\0")
    if head[12:16] == b"VP8X":
        width = int.from_bytes(head[24:27], "little") + 1
        height = int.from_bytes(head[27:30], "little") + 1
    elif head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width = int.from_bytes(head[26:28], "little") & 0x3FFF
        height = int.from_bytes(head[28:30], "little") & 0x3FFF
    check_size(width, height, max_pixels)
    return data
