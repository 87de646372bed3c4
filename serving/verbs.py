"""What a model can do: arrays in, arrays out.  One implementation for HTTP and the command line.

A verb asks a `Runner` for graphs; the server's runner merges requests, the command line's runs the
engine directly.  Shapes: images uint8 [N, H, W, C] (vectors: float32 [N, D]), latents float32
[N, Z], and everything per image has N rows in the order given.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

from serving import labels, scoring
from serving import latents as latent_space
from serving.bundle import Manifest
from serving.errors import NotFound
from serving.labels import Label
from serving.refining import aside, mean_difference, refined
from serving.residuals import Residuals
from serving.results import (
    NOTHING,
    Array,
    Encoded,
    Floats,
    Made,
    Reconstructed,
    Result,
    Runner,
    Scored,
    Usage,
)
from serving.tiles import Frames, Stitched, Whole, cut_otherwise

_PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "encode": (),
        "decode": (),
        "reconstruct": ("refine",),
        "score": ("by", "fpr"),
        "interpolate": ("frames", "path", "exact"),
        "sample": ("n", "seed", "truncation"),
        "vary": ("n", "strength", "seed"),
    }
)
VERBS: Final = tuple(_PARAMETERS)
_FIRST: Final[Mapping[str, str]] = MappingProxyType(
    {"interpolate": "encode", "vary": "encode", "sample": "decode"}
)
# Answers of these have one item for each that was given; the others make theirs from codes.
ITEM_BY_ITEM: Final = ("encode", "decode", "reconstruct", "score")
LABELLED: Final = "scores without labels calibrated the model: those with one can only be ranked"


def first_graph(verb: str) -> str:
    """The graph that `verb` runs first; most run the one of their own name."""
    return _FIRST.get(verb, verb)


class Prepared(NamedTuple):
    """A verb at work: what its answer is made of, row by row."""

    verb: str
    manifest: Manifest
    values: Mapping[str, Any]
    rows: Array | Frames  # items or codes, one for each row of the answer
    usage: Usage = NOTHING  # so far
    seed: int | None = None  # what the codes were drawn with
    label: Label = None  # of each row
    residuals: Residuals | None = None


async def encode(runner: Runner, items: Array) -> Encoded:
    """E(x)."""
    answer = await runner.run("encode", items)
    return Encoded(latents=answer.outputs[0], usage=NOTHING.plus(answer))


async def decode(runner: Runner, latents: Floats) -> Made:
    """G(z)."""
    answer = await runner.run("decode", latents)
    return Made(items=answer.outputs[0], usage=NOTHING.plus(answer))


async def reconstruct(
    runner: Runner, manifest: Manifest, items: Array, *, refine: int = 0
) -> Reconstructed:
    """G(E(x)), both networks in one pass; with `refine` the best of that many steps from there."""
    answer = await runner.run("reconstruct", items)
    codes, made = answer.outputs[:2]
    usage = NOTHING.plus(answer)
    l1 = await aside(items.nbytes, lambda: mean_difference(items, made, manifest.unit))
    best = Reconstructed(items=made, latents=codes, l1=l1, usage=usage)
    return await refined(runner, items, best, refine, manifest.unit) if refine else best


async def score(
    runner: Runner,
    manifest: Manifest,
    items: Array | Frames,
    *,
    by: str | None,
    fpr: float,
    labelled: bool = False,
) -> Scored:
    """How abnormal each image is by the term `by` (None: the bundle's default).

    `fpr` is the share of normal images that may be flagged; without calibration in the bundle
    nothing is flagged and there are no p-values; neither where it was calibrated on images that
    were cut otherwise, nor where the runner tells labels (`labelled`), which calibration does not.
    """
    by = by or manifest.score.default
    column = manifest.score.terms.index(by)
    tiled = items if isinstance(items, Frames) else None

    def judged(terms: Floats) -> scoring.Verdict:
        known, otherwise = manifest.score.calibration.get(by), scoring.NOT_CALIBRATED
        why = LABELLED if labelled else cut_otherwise(tiled, manifest.score.tiles)
        if known is not None and why:
            known, otherwise = None, why
        return scoring.decide(terms[:, column], known, fpr=fpr, otherwise=otherwise)

    if isinstance(items, Frames):
        answer = await runner.run("score", await aside(items.nbytes, items.cut))
        whole = Whole.of(items, answer.outputs[0], column)
        return Scored(
            items=[frame.pixels for frame in items.frames],
            terms=whole.terms,
            heat=Stitched(items, items.split(answer.outputs[1])),
            by=by,
            column=column,
            verdict=judged(whole.terms),
            usage=NOTHING.plus(answer),
            whole=whole,
        )
    answer = await runner.run("score", items)
    terms, heat = answer.outputs[:2]
    return Scored(
        items=items,
        terms=terms,
        heat=heat,
        by=by,
        column=column,
        verdict=judged(terms),
        usage=NOTHING.plus(answer),
    )


async def call(
    verb: str,
    runner: Runner,
    manifest: Manifest,
    rows: Array | Frames | None,
    values: Mapping[str, Any],
) -> Result:
    """The verb called by name, with the parameters among `values` that bear on the result."""
    return await complete(await prepare(verb, runner, manifest, rows, values), runner)


async def prepare(
    verb: str,
    runner: Runner,
    manifest: Manifest,
    rows: Array | Frames | None,
    values: Mapping[str, Any],
) -> Prepared:
    """The verb up to the point from which every row of its answer can be had by itself.

    The label among `values` is a number by now, or one of each row (`serving.labels.numbered`).
    """
    own = {name: values[name] for name in _PARAMETERS[verb]}
    label: Label = values.get("label")
    labels.check_count(label, own["n"] if rows is None else len(rows))
    prepared = await _prepared(verb, labels.telling(runner, label), manifest, rows, own)
    return prepared._replace(label=label)


async def _prepared(
    verb: str,
    runner: Runner,
    manifest: Manifest,
    rows: Array | Frames | None,
    own: Mapping[str, Any],
) -> Prepared:
    if rows is None:
        return await _draw(verb, manifest, own)
    if isinstance(rows, Frames):
        return Prepared(verb=verb, manifest=manifest, values=own, rows=rows)
    match verb:
        case "interpolate":
            return await _waypoints(verb, runner, manifest, rows, own)
        case "vary":
            return await _disturb(verb, runner, manifest, rows, own)
        case _:
            return Prepared(verb=verb, manifest=manifest, values=own, rows=rows)


async def complete(
    prepared: Prepared, runner: Runner, start: int = 0, stop: int | None = None
) -> Result:
    """The answer's rows from `start` to `stop`: all, unless told."""
    rows, own = prepared.rows[start:stop], prepared.values
    label = labels.part(prepared.label, start, stop)
    if isinstance(rows, Frames):
        runner = labels.telling(runner, labels.repeated(label, rows.counts))
        return await score(runner, prepared.manifest, rows, **own, labelled=label is not None)
    runner = labels.telling(runner, label)
    match prepared.verb:
        case "encode":
            return await encode(runner, rows)
        case "decode":
            return await decode(runner, rows)
        case "reconstruct":
            return await reconstruct(runner, prepared.manifest, rows, **own)
        case "score":
            return await score(runner, prepared.manifest, rows, **own, labelled=label is not None)
        case _:
            return await _made(runner, prepared, start, stop)


def check_graph(manifest: Manifest, graph: str) -> None:
    """Raises NotFound where the bundle came without this graph: a hand-made one may."""
    if graph not in manifest.graphs:
        raise NotFound(
            f"{manifest.name}@{manifest.version} has no graph {graph}; "
            f"it has {', '.join(manifest.graphs)}"
        )


async def _draw(verb: str, manifest: Manifest, values: Mapping[str, Any]) -> Prepared:
    """Codes from the prior; number i depends on (seed, i) alone."""
    n, seed = values["n"], _seed(values)
    latent = manifest.latent
    codes = await aside(
        n * 1024,  # a generator is keyed anew for each row
        lambda: latent_space.sample(
            seed,
            n,
            latent.size,
            latent.prior,
            categorical=latent.categorical,
            truncation=values["truncation"],
        ),
    )
    return Prepared(verb=verb, manifest=manifest, values=values, rows=codes, seed=seed)


async def _disturb(
    verb: str, runner: Runner, manifest: Manifest, items: Array, values: Mapping[str, Any]
) -> Prepared:
    """Codes around that of one item."""
    n, seed, strength = values["n"], _seed(values), values["strength"]
    encoded, latent = await encode(runner, items), manifest.latent
    codes = await aside(
        n * 1024,
        lambda: latent_space.vary(
            encoded.latents[0], n, strength, seed, latent.prior, categorical=latent.categorical
        ),
    )
    return Prepared(
        verb=verb, manifest=manifest, values=values, rows=codes, usage=encoded.usage, seed=seed
    )


async def _waypoints(
    verb: str, runner: Runner, manifest: Manifest, items: Array, values: Mapping[str, Any]
) -> Prepared:
    """Codes along a path through those of the items: legs * (frames - 1) + 1 of them.

    What G(E(x)) lacks of the given items x is blended in linearly where `exact` is true, so that
    the frames at both ends of each leg are those items, to the last bit.
    """
    frames, residuals = values["frames"], None
    start: Encoded | Reconstructed
    if values["exact"]:
        start = await reconstruct(runner, manifest, items)
        residuals = Residuals.of(items, start.items, frames)
    else:
        start = await encode(runner, items)
    latent = manifest.latent
    codes = latent_space.path(
        start.latents, frames, values["path"], latent.prior, categorical=latent.categorical
    )
    return Prepared(
        verb=verb,
        manifest=manifest,
        values=values,
        rows=codes,
        usage=start.usage,
        residuals=residuals,
    )


async def _made(
    runner: Runner, prepared: Prepared, start: int = 0, stop: int | None = None
) -> Made:
    """G of the prepared codes, and what it lacks."""
    answer = await runner.run("decode", cast(Array, prepared.rows[start:stop]))
    items, residuals = answer.outputs[0], prepared.residuals
    if residuals is not None:
        made = items
        items = await aside(4 * made.size, lambda: residuals.added(made, start))
    return Made(items=items, usage=prepared.usage.plus(answer), seed=prepared.seed)


def _seed(values: Mapping[str, Any]) -> int:
    seed: int | None = values["seed"]
    return latent_space.draw_seed() if seed is None else seed
