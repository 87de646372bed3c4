"""Answers in JSON: one document, or a line per item and a last one for what all have in common.

serving.routes.answer_types says what is in them.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np

from serving import rendering
from serving.bundle import Manifest
from serving.errors import ServingError
from serving.results import Array, Encoded, Reconstructed, Result, Scored, Usage

_ONE_OF: Final[Mapping[str, str]] = MappingProxyType(
    {
        "latents": "latent",
        "images": "image",
        "vectors": "vector",
        "l1": "l1",
        "steps": "step",
        "results": "result",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What an answer says beside the result."""

    verb: str
    manifest: Manifest
    device: str
    parameters: Mapping[str, Any]
    ids: Sequence[str | None] | None = None  # one per item
    # Items that are not to be had, and why.
    failed: Mapping[int, ServingError] = field(default_factory=dict)


def document(result: Result, context: Context) -> dict[str, Any]:
    """The whole answer."""
    columns = _columns(result, context)
    named = {} if context.ids is None or isinstance(result, Scored) else {"ids": context.ids}
    rows = len(next(iter(columns.values())))
    return {
        **_head(context),
        **columns,
        **named,
        **common(result),
        **cost(result.usage, rows, context),
    }


def lines(result: Result, context: Context, first: int = 0) -> Iterator[dict[str, Any]]:
    """A document for each item, the first of which is number `first` of its request."""
    columns = _columns(result, context)
    for i, row in enumerate(zip(*columns.values(), strict=True)):
        line: dict[str, Any] = {"index": first + i}
        name = context.ids[i] if context.ids is not None else None
        if name is not None:
            line["id"] = name
        if i in context.failed:
            line["problem"] = failure(context.failed[i])
        elif isinstance(result, Scored):
            line |= row[0]
        else:
            line |= zip((_ONE_OF[key] for key in columns), row, strict=True)
        yield line


def last_line(result: Result, usage: Usage, rows: int, context: Context) -> dict[str, Any]:
    """What the lines have in common; `result` is any part of the answer."""
    return {**_head(context), **common(result), **cost(usage, rows, context)}


def failure(error: ServingError) -> dict[str, Any]:
    """What stands in the place of an item."""
    return {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
    }


def _head(context: Context) -> dict[str, Any]:
    return {"model": f"{context.manifest.name}@{context.manifest.version}"}


def common(result: Result) -> dict[str, Any]:
    """What is said once for all items."""
    if isinstance(result, Scored):
        verdict = result.verdict
        note = {} if verdict.note is None else {"note": verdict.note}
        return {"threshold": verdict.threshold, "by": result.by, **note}
    if isinstance(result, Encoded | Reconstructed) or result.seed is None:
        return {}
    return {"seed": result.seed}


def cost(usage: Usage, rows: int, context: Context) -> dict[str, Any]:
    """The key `usage`."""
    return {
        "usage": {
            "images": rows,
            "batch": usage.batch,
            "queue_ms": round(usage.queue_ms, 3),
            "compute_ms": round(usage.compute_ms, 3),
            "device": context.device,
        }
    }


def _columns(result: Result, context: Context) -> dict[str, Sequence[Any] | Array]:
    """The fields that have one value for each item; those that failed have what says so."""
    columns: dict[str, Sequence[Any] | Array]
    if isinstance(result, Encoded):
        base64_wanted = context.parameters["encoding_format"] == "base64"
        columns = {"latents": (base64_rows if base64_wanted else _plain)(result.latents)}
    elif isinstance(result, Scored):
        columns = {"results": _results(result, context)}
    else:
        columns = _items(result.items)
        if isinstance(result, Reconstructed):
            columns |= {"latents": _plain(result.latents), "l1": _plain(result.l1)}
            if result.steps is not None:
                columns["steps"] = _plain(result.steps)
    if not context.failed:
        return columns
    return {
        key: [
            (_in_place(context, i) if place == 0 else None) if i in context.failed else value
            for i, value in enumerate(column)
        ]
        for place, (key, column) in enumerate(columns.items())
    }


def _in_place(context: Context, index: int) -> dict[str, Any]:
    name = context.ids[index] if context.ids is not None else None
    return failure(context.failed[index]) | ({} if name is None else {"id": name})


def _items(items: Array) -> dict[str, Sequence[Any] | Array]:
    if items.dtype == np.uint8:
        return {"images": [rendering.data_uri(rendering.png(image)) for image in items]}
    return {"vectors": _plain(items)}


def _results(result: Scored, context: Context) -> list[dict[str, Any]]:
    names = context.manifest.score.terms
    ids = context.ids or [None] * len(result.items)
    return [
        {
            **({} if name is None else {"id": name}),
            "score": float(row[result.column]),
            "terms": {term: float(value) for term, value in zip(names, row, strict=True)},
            "p_value": p_value,
            "anomalous": anomalous,
            "heatmap": heatmap,
            **tiles,
        }
        for name, row, p_value, anomalous, heatmap, tiles in zip(
            ids,
            result.terms,
            result.verdict.p_values,
            result.verdict.anomalous,
            _heatmaps(result, context),
            _tiles(result),
            strict=True,
        )
    ]


def _tiles(result: Scored) -> list[dict[str, Any]]:
    """What is said of each frame beside its scores; nothing of images that were not cut."""
    if result.whole is None:
        return [{}] * len(result.items)
    return [
        {"tiles": count}
        | ({} if worst is None else {"worst": {"score": worst.score, **worst.box._asdict()}})
        for count, worst in zip(result.whole.counts, result.whole.worst, strict=True)
    ]


def _heatmaps(result: Scored, context: Context) -> list[Any]:
    wanted: Literal["none", "map", "overlay"] = context.parameters["heatmap"]
    if wanted == "none":
        return [None] * len(result.heat)
    if context.manifest.image is None:
        return [_plain(heat) for heat in result.heat]
    full = context.manifest.score.full_heat
    if wanted == "map":
        shown = (rendering.heat_map(heat, full) for heat in result.heat)
    else:
        pairs = zip(result.items, result.heat, strict=True)
        shown = (rendering.overlay(image, heat, full) for image, heat in pairs)
    return [rendering.data_uri(rendering.png(image)) for image in shown]


def base64_rows(latents: Array) -> list[str]:
    """Each row as base64 of its little-endian float32."""
    rows = np.ascontiguousarray(latents, "<f4")
    return [base64.b64encode(row.tobytes()).decode("ascii") for row in rows]


def _plain(array: Array) -> Array:
    """The array as orjson takes it: contiguous."""
    return np.ascontiguousarray(array)
