"""A bundle in this process, without a server: the same verbs, on arrays, pictures and files.

from serving import open_bundle
pair = open_bundle("my-models/digits/1")
latents = pair.encode(["a.png", "b.png"])
"""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving import images, labels, store, verbs
from serving.bundle import Bundle, Manifest, read
from serving.engine import Device, Engine
from serving.errors import ItemProblem, ServingError, Unprocessable
from serving.images import ImageSpec
from serving.queueing import Answer, joined
from serving.region import Region
from serving.results import Reconstructed, Scored
from serving.routes.parameter import Given, parse
from serving.routes.parameters import MAX_WAYPOINTS, known
from serving.tiles import Frame, Frames, Tiling

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Picture: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | Array
T = TypeVar("T")
# Parameters that are about files: arrays have none.
_OF_FILES: Final = frozenset({"fps", "encoding_format", "heatmap", "roi"})
_CHUNK: Final = 32  # rows in one run of a graph on a CPU; on a GPU those of the largest bucket


def open_bundle(
    path: str | os.PathLike[str], *, device: Device = "auto", threads: int = 0
) -> "LocalPair":
    """The bundle in this directory, every file checked, ready to be asked.

    `bento:NAME` and `bento:NAME:VERSION` are those in BentoML's model store.  On a CPU a call
    computes on so many `threads`; 0: one per usable core.
    Raises:
        BundleError: it cannot be opened; names the file.
        DeviceError: `device` is "cuda", and there is none.
        NotInStore: the store has none of that name.
    """
    bundle = read(store.located(Path(path)))
    return LocalPair(bundle, Engine(bundle, device=device, threads=threads))


class LocalPair:
    """G and E of one bundle; blocking, and safe to be asked from several threads.

    Images are what HTTP takes and more: a path, an encoded file's bytes, a PIL image, an array
    uint8 [h, w], [h, w, 3] ...; one of these or a sequence, or an array [N, H, W, C].  Whatever
    is not of the model's size is brought to it as the server does it.  Models of vectors take
    float32 [N, D] in their place.  Parameters are those of HTTP, with its ranges and defaults;
    those of all verbs of a conditional model are `label`, and but for morphs and variations
    `labels`.

    Every verb raises ServingError, whose `items` name what is no good.
    """

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self._bundle = bundle
        self._engine = engine
        self._runner = _DirectRunner(engine)

    @property
    def manifest(self) -> Manifest:
        return self._bundle.manifest

    @property
    def device(self) -> str:
        """What it computes on: cpu or cuda."""
        return self._engine.device

    def encode(self, items: Picture | Sequence[Picture], **parameters: Any) -> Floats:
        """E(x), [N, Z]."""
        latents: Floats = self._ask("encode", self.rows(items), parameters).latents
        return latents

    def decode(self, latents: npt.ArrayLike, **parameters: Any) -> Array:
        """G(z) of latents [N, Z]: uint8 [N, H, W, C], or vectors."""
        rows = self._vectors(latents, self.manifest.latent.size)
        return self._made("decode", rows, parameters)

    def reconstruct(self, items: Picture | Sequence[Picture], **parameters: Any) -> Reconstructed:
        """G(E(x)) as `items`, with `latents` [N, Z] and the mean difference `l1` [N]."""
        result: Reconstructed = self._ask("reconstruct", self.rows(items), parameters)
        return result

    def score(self, items: Picture | Sequence[Picture], **parameters: Any) -> Scored:
        """How abnormal each is: `terms` [N, T], `heat` [N, H, W], and the `verdict` by one term.

        Parameters: `by`, a term; `fpr`; `tile`, `stride` and `roi` to cut them into tiles at their
        own sizes, of which `whole` tells.  `roi` is four numbers in a text, or a mask's file.
        """
        by = parameters.get("by")
        if by is not None and by not in self.manifest.score.terms:
            raise Unprocessable(
                f"by must be one of {', '.join(self.manifest.score.terms)}, got {by!r}"
            )
        roi = parameters.pop("roi", None)
        tiling = Tiling.of(
            self.manifest.image,
            self.manifest.score.tiles,
            tile=parameters.get("tile"),
            stride=parameters.get("stride"),
            region=None if roi is None else Region.parse(str(roi), _bytes),
        )
        rows = self.rows(items) if tiling is None else self._frames(items, tiling)
        result: Scored = self._ask("score", rows, parameters)
        return result

    def sample(self, n: int = 1, **parameters: Any) -> Array:
        """G of n codes drawn from the prior: uint8 [n, H, W, C].

        Parameters: `seed`, which a server draws the same images with; `truncation`.
        """
        return self._made("sample", None, {"n": n, **parameters})

    def interpolate(self, items: Sequence[Picture] | Array, **parameters: Any) -> Array:
        """A morph through 2 to 16: legs * (frames - 1) + 1 images.

        Parameters: `frames` per leg, `path`, and `exact`: the given ones are met as they are.
        """
        rows = self.rows(items)
        if not 2 <= len(rows) <= MAX_WAYPOINTS:
            raise Unprocessable(f"interpolate wants 2 to {MAX_WAYPOINTS} items, got {len(rows)}")
        return self._made("interpolate", rows, parameters)

    def vary(self, item: Picture, **parameters: Any) -> Array:
        """n images near the given one.  Parameters: `n`, `strength`, `seed`."""
        rows = self.rows(item)
        if len(rows) != 1:
            raise Unprocessable(f"vary wants 1 item, got {len(rows)}")
        return self._made("vary", rows, parameters)

    def rows(self, items: Picture | Sequence[Picture]) -> Array:
        """The given as the graphs take them: uint8 [N, H, W, C], or vectors float32 [N, D]."""
        if self.manifest.vector is not None:
            return self._vectors(items, self.manifest.vector.size)
        spec = self._bundle.image_spec
        if (
            isinstance(items, np.ndarray)
            and items.size
            and items.dtype == np.uint8
            and items.shape[1:] == spec.shape
        ):
            return items  # there is nothing to convert, and nothing to copy
        return np.stack(_read(self._given(items), lambda one: _pixels(one, spec)))

    def close(self) -> None:
        """Let go of the sessions and their memory."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _frames(self, items: Picture | Sequence[Picture], tiling: Tiling) -> Frames:
        channels = self._bundle.image_spec.channels

        def read(one: Picture) -> Frame:
            pixels = _frame(one, channels)
            return Frame(pixels=pixels, places=tiling.places(*pixels.shape[:2]))

        return Frames(tiling, _read(self._given(items), read))

    def _given(self, items: Picture | Sequence[Picture]) -> list[Picture]:
        """One by one."""
        if isinstance(items, np.ndarray):
            return list(items) if _is_batch(items, self._bundle.image_spec) else [items]
        if isinstance(items, Sequence) and not isinstance(items, str | bytes):
            return list(items)
        return [items]

    def _vectors(self, given: Any, size: int) -> Floats:
        try:
            rows = np.atleast_2d(np.asarray(given, np.float32))
        except (TypeError, ValueError) as error:
            raise Unprocessable(f"rows of {size} numbers are wanted: {error}") from error
        if rows.ndim != 2 or rows.shape[1] != size or not len(rows):
            raise Unprocessable(f"rows must be [N, {size}], got {list(rows.shape)}")
        if not np.isfinite(rows).all():
            raise Unprocessable("rows have numbers that are not finite")
        return rows

    def _made(self, verb: str, rows: Array | None, parameters: dict[str, Any]) -> Array:
        items: Array = self._ask(verb, rows, parameters).items
        return items

    def _ask(self, verb: str, rows: Array | Frames | None, parameters: dict[str, Any]) -> Any:
        given = [Given(k, v, text=False) for k, v in parameters.items() if v is not None]
        values = parse([one for one in known(verb) if one.name not in _OF_FILES], given)
        values["label"] = labels.numbered(self.manifest, values)
        return _finished(verbs.call(verb, self._runner, self.manifest, rows, values))


class _DirectRunner:
    """Runs graphs on this process's engine, in chunks, on as many threads as it has workers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._chunk = max(engine.buckets, default=_CHUNK)

    async def run(self, graph: str, *inputs: Array) -> Answer:
        """The graph's outputs for all rows."""
        manifest = self._engine.bundle.manifest
        verbs.check_graph(manifest, graph)
        inputs = labels.completed(manifest, graph, inputs)
        begin = time.monotonic()
        chunks = [
            [array[start : start + self._chunk] for array in inputs]
            for start in range(0, len(inputs[0]), self._chunk)
        ]
        workers = min(self._engine.workers, len(chunks))
        if workers == 1:  # to begin a thread and to wait for it takes most of a millisecond
            pieces = [self._engine.run(graph, chunk) for chunk in chunks]
        else:
            with ThreadPoolExecutor(workers) as pool:
                pieces = list(pool.map(lambda chunk: self._engine.run(graph, chunk), chunks))
        return Answer(
            outputs=[joined(list(column)) for column in zip(*pieces, strict=True)],
            batch=len(chunks[0][0]),
            queue_ms=0.0,
            compute_ms=(time.monotonic() - begin) * 1e3,
        )


def _read(given: Sequence[Picture], read: Callable[[Picture], T]) -> list[T]:
    """What `read` makes of each.  Raises ServingError, which names all that are no good."""
    if not given:
        raise Unprocessable("no images")
    found, problems = [], []
    for index, one in enumerate(given):
        try:
            found.append(read(one))
        except ServingError as error:
            problems.append((index, error))
    if not problems:
        return found
    index, first = problems[0]
    if len(given) == 1:
        raise first
    raise Unprocessable(
        f"{len(problems)} of {len(given)} images are no good; "
        f"the first is number {index}: {first.detail}",
        items=[ItemProblem(index, error.detail) for index, error in problems],
    )


def _is_batch(array: Array, spec: images.ImageSpec) -> bool:
    """Whether it holds several images: [N, h, w, C], or of a grey model's size [N, H, W]."""
    grey = spec.channels == 1 and array.shape[1:] == (spec.height, spec.width)
    return array.ndim == 4 or (array.ndim == 3 and grey)


def _pixels(one: Picture, spec: images.ImageSpec) -> images.Pixels:
    """The picture as uint8 [H, W, C].  Raises ServingError, also for a file that is not there."""
    if isinstance(one, np.ndarray):
        return images.fit_array(one, spec)
    if isinstance(one, Image.Image):
        return images.convert(one, spec)
    return images.decode(_bytes(one), spec, formats=images.FOLDER_FORMATS)


def _frame(one: Picture, channels: int) -> images.Pixels:
    """The picture at its own size, uint8 [h, w, C].  Raises as `_pixels` does."""
    if isinstance(one, np.ndarray):
        height, width = one.shape[:2] if one.ndim in (2, 3) and one.size else (1, 1)
        return images.fit_array(one, ImageSpec(height=height, width=width, channels=channels))
    if isinstance(one, Image.Image):
        size = ImageSpec(height=one.height, width=one.width, channels=channels)
        return images.convert(one, size)
    return images.decode_frame(_bytes(one), channels, formats=images.FOLDER_FORMATS)


def _bytes(one: Any) -> bytes:
    if isinstance(one, bytes):
        return one
    try:
        return Path(one).read_bytes()
    except OSError as error:
        raise Unprocessable(f"{one}: {error.strerror or error}") from error
    except TypeError as error:
        raise Unprocessable(f"a {type(one).__name__} is no image") from error


def _finished(work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives, also where an event loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
