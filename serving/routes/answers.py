"""Answers: which format the caller wants, and a verb's result in it."""

import functools
from collections.abc import Sequence
from typing import Final

import numpy as np
import orjson

from serving import rendering
from serving.bundle import Manifest
from serving.errors import NotAcceptable, Unprocessable
from serving.results import Array, Encoded, Made, Reconstructed, Result, Scored
from serving.routes.documents import Context, document, lines

JSON: Final = "application/json"
NPY: Final = "application/x-npy"
PNG: Final = "image/png"
WEBP: Final = "image/webp"
GIF: Final = "image/gif"
ZIP: Final = "application/zip"
NDJSON: Final = "application/x-ndjson"  # in lines, while the rest is computed
_QUICK: Final = 16_384  # bytes of numbers
_KNOWN_ACCEPTS: Final = 256  # Accept headers that are remembered: clients have few
_LONG_ACCEPT: Final = 200  # characters; longer ones are not
_PICTURES: Final = (PNG, WEBP, GIF, ZIP)


def formats(verb: str, manifest: Manifest) -> tuple[str, ...]:
    """What the answer to `verb` can be, best first."""
    if manifest.image is None:
        return JSON, NPY, NDJSON
    return formats_of_images(verb)


def formats_of_images(verb: str) -> tuple[str, ...]:
    """The same where the model is one of images."""
    if verb == "encode":
        return JSON, NPY, NDJSON
    if verb == "score":
        return JSON, NPY, PNG, NDJSON
    if verb == "interpolate":  # an image format means the morph, moving where it can
        return JSON, NPY, WEBP, GIF, PNG, ZIP, NDJSON
    return JSON, NPY, *_PICTURES, NDJSON


def negotiate(accept: str, offered: Sequence[str]) -> str:
    """The offered type that an Accept header likes best; the first offered where it likes equally.

    Raises NotAcceptable, which lists what is offered.
    """
    negotiated = _negotiated if len(accept) > _LONG_ACCEPT else _remembered
    return negotiated(accept, tuple(offered))


def _negotiated(accept: str, offered: Sequence[str]) -> str:
    parts = [part for part in accept.split(",") if part.strip()]
    if not parts:
        return offered[0]
    covering = {media_type: _covering(media_type) for media_type in offered}
    known = {name for names in covering.values() for name in names}
    qualities: dict[str, float] = {}
    for part in parts:  # thousands, of which few mean anything here
        name = part.partition(";")[0].strip().lower()
        if name in known:
            qualities[name] = max(qualities.get(name, 0.0), _quality(part))
    best, best_quality = "", 0.0
    for media_type, names in covering.items():
        # The most specific range that covers a type decides on it (RFC 9110, 12.5.1).
        quality = next((qualities[name] for name in names if name in qualities), 0.0)
        if quality > best_quality:
            best, best_quality = media_type, quality
    if not best:
        raise NotAcceptable(f"cannot answer as {accept[:100]}; can as {', '.join(offered)}")
    return best


_remembered = functools.lru_cache(_KNOWN_ACCEPTS)(_negotiated)


def _quality(part: str) -> float:
    """How much a range is liked, from 0 to 1."""
    quality = 1.0
    for parameter in part.split(";")[1:]:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return quality if 0 <= quality <= 1 else 0.0


def _covering(media_type: str) -> tuple[str, ...]:
    """The names of the ranges that cover a type, the most specific first."""
    own = (NPY, "application/npy") if media_type == NPY else (media_type,)
    return *own, f"{media_type.partition('/')[0]}/*", "*/*"


def render(result: Result, media_type: str, context: Context) -> bytes:
    """The result in one of `formats`.  Takes as long as its images take to compress."""
    if media_type == JSON:
        return orjson.dumps(document(result, context), option=orjson.OPT_SERIALIZE_NUMPY)
    if media_type == NPY or isinstance(result, Encoded):  # of which there are no pictures
        return rendering.npy(_array(result))
    return _picture(result, media_type, context)


def render_lines(result: Result, context: Context, first: int) -> bytes:
    """A line of JSON for each item, the first of which is number `first` of its request."""
    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    return b"".join(orjson.dumps(line, option=option) for line in lines(result, context, first))


def is_quick(result: Result, media_type: str, context: Context) -> bool:
    """Whether `render` takes less time than a change of threads: few numbers, and no images."""
    if media_type in (JSON, NDJSON):
        images = context.parameters.get("heatmap", "none") != "none" or (
            not isinstance(result, Encoded | Scored) and context.manifest.image is not None
        )
        if images:
            return False
    elif media_type != NPY:
        return False
    return _array(result).nbytes <= _QUICK


def _array(result: Result) -> Array:
    if isinstance(result, Encoded):
        return result.latents
    return _scores(result) if isinstance(result, Scored) else result.items


def _picture(result: Made | Reconstructed | Scored, media_type: str, context: Context) -> bytes:
    items = _overlays(result, context) if isinstance(result, Scored) else result.items
    if media_type == ZIP:
        return rendering.zip_of_png(items)
    if media_type == PNG:
        return rendering.png(items[0] if len(items) == 1 else rendering.grid(items))
    if context.verb != "interpolate":
        items = items[:1] if len(items) == 1 else rendering.grid(items)[np.newaxis]
    fps = context.parameters.get("fps", 1.0)
    animation = rendering.webp_animation if media_type == WEBP else rendering.gif_animation
    return animation(items, fps)


def _overlays(result: Scored, context: Context) -> Array:
    if len({image.shape for image in result.items}) > 1:
        raise Unprocessable("frames of different sizes make no grid: send one, or ask for JSON")
    full = context.manifest.score.full_heat
    pairs = zip(result.items, result.heat, strict=True)
    return np.stack([rendering.overlay(image, heat, full) for image, heat in pairs])


def _scores(result: Scored) -> Array:
    scores: Array = result.terms[:, result.column]
    return scores
