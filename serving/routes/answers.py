"""Answers: which format the caller wants, and a verb's result in it."""

import base64
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from serving import rendering
from serving.bundle import Manifest
from serving.errors import NotAcceptable
from serving.verbs import Encoded, Made, Reconstructed, Scored, Usage

Array = npt.NDArray[Any]
Result = Encoded | Made | Reconstructed | Scored

JSON: Final = "application/json"
NPY: Final = "application/x-npy"
PNG: Final = "image/png"
WEBP: Final = "image/webp"
GIF: Final = "image/gif"
ZIP: Final = "application/zip"
_QUICK: Final = 16_384  # bytes of numbers
_KNOWN_ACCEPTS: Final = 256  # Accept headers that are remembered: clients have few
_LONG_ACCEPT: Final = 200  # characters; longer ones are not
_PICTURES: Final = (PNG, WEBP, GIF, ZIP)


def formats(verb: str, manifest: Manifest) -> tuple[str, ...]:
    """What the answer to `verb` can be, best first."""
    if manifest.image is None or verb == "encode":
        return JSON, NPY
    if verb == "score":
        return JSON, NPY, PNG
    if verb == "interpolate":  # an image format means the morph, moving where it can
        return JSON, NPY, WEBP, GIF, PNG, ZIP
    return JSON, NPY, *_PICTURES


def negotiate(accept: str, offered: Sequence[str]) -> str:
    """The offered type that an Accept header likes best; the first offered where it likes equally.

    Raises NotAcceptable, which lists what is offered.
    """
    negotiated = _negotiated if len(accept) > _LONG_ACCEPT else _remembered
    return negotiated(accept, tuple(offered))


def _negotiated(accept: str, offered: Sequence[str]) -> str:
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    if not ranges:
        return offered[0]
    best, best_quality = "", 0.0
    for media_type in offered:
        # The most specific range that covers a type decides on it (RFC 9110, 12.5.1).
        covering = [
            (spec, quality) for name, quality in ranges if (spec := _covers(name, media_type))
        ]
        quality = max(covering)[1] if covering else 0.0
        if quality > best_quality:
            best, best_quality = media_type, quality
    if not best:
        raise NotAcceptable(f"cannot answer as {accept[:100]}; can as {', '.join(offered)}")
    return best


_remembered = functools.lru_cache(_KNOWN_ACCEPTS)(_negotiated)


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return name.lower(), quality if 0 <= quality <= 1 else 0.0


def _covers(name: str, media_type: str) -> int:
    """How specifically a range covers a type: 3 exactly, 2 as type/*, 1 as */*, 0 not at all."""
    if name == media_type or (media_type == NPY and name == "application/npy"):
        return 3
    if name == media_type.split("/")[0] + "/*":
        return 2
    return int(name == "*/*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What an answer says beside the result."""

    verb: str
    manifest: Manifest
    device: str
    parameters: Mapping[str, Any]


def render(result: Result, media_type: str, context: Context) -> bytes:
    """The result in one of `formats`.  Takes as long as its images take to compress."""
    if media_type == JSON:
        return orjson.dumps(_json(result, context), option=orjson.OPT_SERIALIZE_NUMPY)
    if media_type == NPY or isinstance(result, Encoded):  # of which there are no pictures
        return rendering.npy(_array(result))
    return _picture(result, media_type, context)


def is_quick(result: Result, media_type: str, context: Context) -> bool:
    """Whether `render` takes less time than a change of threads: few numbers, and no images."""
    if media_type == JSON:
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
    items = _overlays(result) if isinstance(result, Scored) else result.items
    if media_type == ZIP:
        return rendering.zip_of_png(items)
    if media_type == PNG:
        return rendering.png(items[0] if len(items) == 1 else rendering.grid(items))
    if context.verb != "interpolate":
        items = items[:1] if len(items) == 1 else rendering.grid(items)[np.newaxis]
    fps = context.parameters.get("fps", 1.0)
    animation = rendering.webp_animation if media_type == WEBP else rendering.gif_animation
    return animation(items, fps)


def _json(result: Result, context: Context) -> dict[str, Any]:
    document: dict[str, Any] = {"model": f"{context.manifest.name}@{context.manifest.version}"}
    if isinstance(result, Encoded):
        base64_wanted = context.parameters["encoding_format"] == "base64"
        document["latents"] = _base64(result.latents) if base64_wanted else _plain(result.latents)
        rows = len(result.latents)
    elif isinstance(result, Scored):
        document |= _score_json(result, context)
        rows = len(result.items)
    else:
        document |= _items_json(result.items)
        rows = len(result.items)
        if isinstance(result, Reconstructed):
            document |= {"latents": _plain(result.latents), "l1": _plain(result.l1)}
        elif result.seed is not None:
            document["seed"] = result.seed
    document["usage"] = _usage_json(result.usage, rows, context.device)
    return document


def _items_json(items: Array) -> dict[str, Any]:
    if items.dtype == np.uint8:
        return {"images": [rendering.data_uri(rendering.png(image)) for image in items]}
    return {"vectors": _plain(items)}


def _usage_json(usage: Usage, rows: int, device: str) -> dict[str, Any]:
    return {
        "images": rows,
        "batch": usage.batch,
        "queue_ms": round(usage.queue_ms, 3),
        "compute_ms": round(usage.compute_ms, 3),
        "device": device,
    }


def _score_json(result: Scored, context: Context) -> dict[str, Any]:
    names = context.manifest.score.terms
    verdict = result.verdict
    results = [
        {
            "score": float(score),
            "terms": {name: float(value) for name, value in zip(names, row, strict=True)},
            "p_value": p_value,
            "anomalous": anomalous,
            "heatmap": heatmap,
        }
        for score, row, p_value, anomalous, heatmap in zip(
            _scores(result),
            result.terms,
            verdict.p_values,
            verdict.anomalous,
            _heatmaps(result, context),
            strict=True,
        )
    ]
    note = {} if verdict.note is None else {"note": verdict.note}
    return {"results": results, "threshold": verdict.threshold, "by": result.by, **note}


def _heatmaps(result: Scored, context: Context) -> list[Any]:
    wanted = context.parameters["heatmap"]
    if wanted == "none":
        return [None] * len(result.heat)
    if context.manifest.image is None:
        return list(_plain(result.heat))
    shown = _overlays(result) if wanted == "overlay" else map(rendering.heat_map, result.heat)
    return [rendering.data_uri(rendering.png(image)) for image in shown]


def _overlays(result: Scored) -> Array:
    pairs = zip(result.items, result.heat, strict=True)
    return np.stack([rendering.overlay(image, heat) for image, heat in pairs])


def _scores(result: Scored) -> Array:
    scores: Array = result.terms[:, result.column]
    return scores


def _base64(latents: Array) -> list[str]:
    rows = np.ascontiguousarray(latents, "<f4")
    return [base64.b64encode(row.tobytes()).decode("ascii") for row in rows]


def _plain(array: Array) -> Array:
    """The array as orjson takes it: contiguous."""
    return np.ascontiguousarray(array)
