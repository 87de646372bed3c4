"""What a model can do: arrays in, arrays out.  One implementation for HTTP and the command line.

A verb asks a `Runner` for graphs; the server's runner merges requests, the command line's runs the
engine directly.  Shapes: images uint8 [N, H, W, C] (vectors: float32 [N, D]), latents float32
[N, Z], and everything per image has N rows in the order given.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from serving import latents as latent_space
from serving import scoring
from serving.bundle import Bundle, Manifest
from serving.errors import BundleError, NotFound
from serving.queueing import Answer

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
_HEAVY: Final = 256 * 1024  # bytes of numpy work that take longer than a change of threads
_PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "encode": (),
        "decode": (),
        "reconstruct": (),
        "score": ("by", "fpr"),
        "interpolate": ("frames", "path"),
        "sample": ("n", "seed", "truncation"),
        "vary": ("n", "strength", "seed"),
    }
)
VERBS: Final = tuple(_PARAMETERS)
_FIRST: Final[Mapping[str, str]] = MappingProxyType(
    {"interpolate": "encode", "vary": "encode", "sample": "decode"}
)


def first_graph(verb: str) -> str:
    """The graph that `verb` runs first; most run the one of their own name."""
    return _FIRST.get(verb, verb)


class Runner(Protocol):
    """Runs one graph of one model."""

    async def run(self, graph: str, *inputs: Array) -> Answer: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What the runs behind a result cost."""

    batch: int = 0  # rows of the largest batch it was in
    queue_ms: float = 0.0  # one run after another
    compute_ms: float = 0.0

    def plus(self, answer: Answer) -> "Usage":
        """This and one more run."""
        return Usage(
            batch=max(self.batch, answer.batch),
            queue_ms=self.queue_ms + answer.queue_ms,
            compute_ms=self.compute_ms + answer.compute_ms,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    latents: Floats
    usage: Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """Images (or vectors) that a model made."""

    items: Array
    usage: Usage
    seed: int | None = None  # what they were drawn with


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconstructed:
    items: Array
    latents: Floats
    l1: Floats  # mean |x - G(E(x))|, images in units of 255; the score graph's term l1
    usage: Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    items: Array  # as given
    terms: Floats  # [N, T] in the manifest's order, higher is more abnormal
    heat: Floats  # [N, H, W]
    by: str
    column: int  # of `by` in `terms`
    verdict: scoring.Verdict
    usage: Usage


async def encode(runner: Runner, items: Array) -> Encoded:
    """E(x)."""
    answer = await runner.run("encode", items)
    return Encoded(latents=answer.outputs[0], usage=Usage().plus(answer))


async def decode(runner: Runner, latents: Floats) -> Made:
    """G(z)."""
    answer = await runner.run("decode", latents)
    return Made(items=answer.outputs[0], usage=Usage().plus(answer))


async def reconstruct(runner: Runner, items: Array) -> Reconstructed:
    """G(E(x)), both networks in one pass."""
    answer = await runner.run("reconstruct", items)
    codes, made = answer.outputs[:2]
    usage = Usage().plus(answer)
    l1 = await _aside(items.nbytes, lambda: _l1(items, made))
    return Reconstructed(items=made, latents=codes, l1=l1, usage=usage)


async def score(
    runner: Runner, manifest: Manifest, items: Array, *, by: str | None, fpr: float
) -> Scored:
    """How abnormal each image is by the term `by` (None: the bundle's default).

    `fpr` is the share of normal images that may be flagged; without calibration in the bundle
    nothing is flagged and there are no p-values.
    """
    answer = await runner.run("score", items)
    terms, heat = answer.outputs[:2]
    by = by or manifest.score.default
    column = manifest.score.terms.index(by)
    return Scored(
        items=items,
        terms=terms,
        heat=heat,
        by=by,
        column=column,
        verdict=scoring.decide(terms[:, column], manifest.score.calibration.get(by), fpr=fpr),
        usage=Usage().plus(answer),
    )


async def interpolate(
    runner: Runner,
    manifest: Manifest,
    items: Array,
    *,
    frames: int,
    path: latent_space.Path,
) -> Made:
    """A morph through G along a path from code to code: legs * (frames - 1) + 1 images."""
    encoded = await encode(runner, items)
    codes = latent_space.path(encoded.latents, frames, path, manifest.latent.prior)
    answer = await runner.run("decode", codes)
    return Made(items=answer.outputs[0], usage=encoded.usage.plus(answer))


async def sample(
    runner: Runner,
    manifest: Manifest,
    *,
    n: int,
    seed: int | None,
    truncation: float,
) -> Made:
    """G(z) of n codes drawn from the prior; image i depends on (seed, i) alone."""
    seed = latent_space.draw_seed() if seed is None else seed
    size, prior = manifest.latent.size, manifest.latent.prior
    codes = await _aside(
        n * 1024,  # a generator is keyed anew for each row
        lambda: latent_space.sample(seed, n, size, prior, truncation=truncation),
    )
    answer = await runner.run("decode", codes)
    return Made(items=answer.outputs[0], usage=Usage().plus(answer), seed=seed)


async def vary(
    runner: Runner,
    manifest: Manifest,
    items: Array,
    *,
    n: int,
    strength: float,
    seed: int | None,
) -> Made:
    """n images near the one given: G of its code, disturbed."""
    seed = latent_space.draw_seed() if seed is None else seed
    encoded = await encode(runner, items)
    codes = await _aside(
        n * 1024,
        lambda: latent_space.vary(encoded.latents[0], n, strength, seed, manifest.latent.prior),
    )
    answer = await runner.run("decode", codes)
    return Made(items=answer.outputs[0], usage=encoded.usage.plus(answer), seed=seed)


async def call(
    verb: str, runner: Runner, manifest: Manifest, rows: Array | None, values: Mapping[str, Any]
) -> Encoded | Made | Reconstructed | Scored:
    """The verb called by name, with the parameters among `values` that bear on the result."""
    own = {name: values[name] for name in _PARAMETERS[verb]}
    if rows is None:
        return await sample(runner, manifest, **own)
    match verb:
        case "encode":
            return await encode(runner, rows)
        case "decode":
            return await decode(runner, rows)
        case "reconstruct":
            return await reconstruct(runner, rows)
        case "score":
            return await score(runner, manifest, rows, **own)
        case "interpolate":
            return await interpolate(runner, manifest, rows, **own)
        case _:
            return await vary(runner, manifest, rows, **own)


def check_inputs(bundle: Bundle) -> None:
    """Raises BundleError, which names the file, for a graph that wants more than rows.

    Those of conditional models want labels too, which no verb passes yet.
    """
    for name, graph in bundle.manifest.graphs.items():
        if len(graph.inputs) != 1:
            wanted = ", ".join(tensor.name for tensor in graph.inputs)
            raise BundleError(f"{bundle.graph_file(name)}: it wants more than rows: {wanted}")


def check_graph(manifest: Manifest, graph: str) -> None:
    """Raises NotFound where the bundle came without this graph: a hand-made one may."""
    if graph not in manifest.graphs:
        raise NotFound(
            f"{manifest.name}@{manifest.version} has no graph {graph}; "
            f"it has {', '.join(manifest.graphs)}"
        )


async def _aside(weight: int, work: Callable[[], Floats]) -> Floats:
    """What `work` gives; on another thread where it would hold up the event loop."""
    return await asyncio.to_thread(work) if weight > _HEAVY else work()


def _l1(items: Array, made: Array) -> Floats:
    """Mean |x - r| of each row; uint8 rows in units of 255."""
    unit = 255.0 if items.dtype == np.uint8 else 1.0
    difference = np.abs(items.astype(np.float32) - made.astype(np.float32))
    l1: Floats = difference.reshape(len(items), -1).mean(axis=1, dtype=np.float64) / unit
    return l1.astype(np.float32)
