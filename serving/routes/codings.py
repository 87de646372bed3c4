"""Content codings of bodies: gzip and deflate, within a limit."""

import zlib
from typing import Final

from serving.errors import BadRequest, TooLarge, UnsupportedType

# The size of zlib's window and which wrapper there is around it: HTTP's deflate has zlib's own.
_WINDOWS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_ANSWERS: Final = ("gzip", "deflate")
_LEVEL: Final = 1  # tensors shrink little, and no more with patience


def decoded(body: bytes, coding: str, *, limit: int) -> bytes:
    """The body that `coding`, the value of Content-Encoding, was applied to.

    Raises:
        UnsupportedType: a coding that this does not know.
        BadRequest: the bytes are not what the coding makes.
        TooLarge: more than `limit` bytes; no more than those were made.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in _WINDOWS:
        raise UnsupportedType(f"Content-Encoding {coding[:60]}; this reads gzip and deflate")
    decoder = zlib.decompressobj(_WINDOWS[coding])
    try:
        plain = decoder.decompress(body, limit + 1)
    except zlib.error as error:
        raise BadRequest(f"the body is not {coding}: {error}") from error
    if len(plain) > limit:
        raise TooLarge(f"the body may have at most {limit:,} bytes, this has more once decoded")
    if not decoder.eof or decoder.unused_data:
        raise BadRequest(f"the body is not {coding}: it is cut off, or more follows it")
    return plain


def wanted(accept: str) -> str:
    """The coding that an Accept-Encoding header allows an answer; "" for none."""
    allowed = set()
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip().replace(" ", "") for piece in part.split(";"))
        if not any(_is_zero(parameter) for parameter in parameters):
            allowed.add(name)
    return next((coding for coding in _ANSWERS if coding in allowed), "")


def encoded(body: bytes, coding: str) -> bytes:
    """The body with one of the codings that `wanted` gives applied to it."""
    encoder = zlib.compressobj(_LEVEL, wbits=_WINDOWS[coding])
    return encoder.compress(body) + encoder.flush()


def _is_zero(parameter: str) -> bool:
    return parameter.startswith("q=") and not parameter[2:].strip("0.")
