"""The models in a folder: which there are, what state each is in, and which one a name means."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from serving import memory, tuning
from serving.batching import Batcher
from serving.bundle import Bundle, Manifest, find_bundles, read
from serving.costs import padded
from serving.engine import Engine
from serving.errors import BundleError, DeviceError, NotFound, NotReady
from serving.queueing import Array
from serving.settings import Settings
from serving.verbs import check_inputs

State = Literal["loading", "ready", "failed"]
BatchTold = Callable[[str, Sequence[Array], float], None]  # graph, outputs, seconds
log = logging.getLogger("biject.registry")


class OnBatch(Protocol):
    """Told of each batch that was computed, on an engine thread."""

    def __call__(
        self,
        manifest: Manifest,
        graph: str,
        batch: Sequence[Array],
        *,
        padding: int,
        seconds: float,
    ) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """What a ready model computes with."""

    bundle: Bundle
    engine: Engine
    batcher: Batcher


@dataclass(kw_only=True, slots=True)
class Model:
    """One version of one model."""

    name: str
    version: int
    path: Path
    state: State = "loading"
    reason: str = ""  # why it failed
    loaded: Loaded | None = None

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def ready(self) -> Loaded:
        """What it computes with.  Raises NotReady while it loads or if it failed."""
        if self.loaded is None:
            why = f"failed to load: {self.reason}" if self.state == "failed" else "is loading"
            raise NotReady(f"model {self.ref} {why}", retry_after=2)
        return self.loaded

    @property
    def manifest(self) -> Manifest:
        return self.ready.bundle.manifest


class Registry:
    """All bundles under one folder.

    `find` is quick; `load` opens and warms up what was found, which takes a while and may run on
    any thread.  A bundle that cannot be opened fails alone and says why.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_batch: OnBatch | None = None,
    ) -> None:
        self._settings = settings
        self._on_batch = on_batch
        self._closed = threading.Event()
        self.models: list[Model] = []  # by name, then version
        self.reason = "the models are loading"  # why there is nothing to serve

    def find(self) -> None:
        """List the bundles in the folder, unopened.  Raises BundleError if it is no such folder."""
        found = [
            Model(name=name, version=version, path=path)
            for name, version, path in find_bundles(self._settings.models)
        ]
        self.models = sorted(found, key=lambda model: (model.name, model.version))

    def load(self, slot: int = 0) -> None:
        """Find, open and warm up all; afterwards each model is ready or failed.

        `slot` is the number of this process among the server's workers.
        """
        try:
            self.find()
        except BundleError as error:
            self.reason = str(error)
            log.error("%s", error)
            return
        if not self.models:
            self.reason = f"no bundle in {self._settings.models}"
            log.error("%s", self.reason)
        for model in self.models:
            if self._closed.is_set():
                return
            self._load(model, slot)

    def get(self, ref: str) -> Model:
        """The model called `NAME`, `NAME@VERSION` or `default`.

        A bare name means the newest version that loaded.
        Raises NotFound, which lists what there is.
        """
        wanted = ref
        if ref == "default":
            wanted = self._settings.default or next((m.name for m in self._usable()), "")
            if not wanted:
                raise NotReady(self.unready() or self.reason, retry_after=2)
        name, at, version = wanted.partition("@")
        named = [model for model in self.models if model.name == name]
        if at:
            named = [model for model in named if str(model.version) == version]
        if not named:
            if not self.models:
                raise NotReady(self.reason, retry_after=2)
            known = ", ".join(sorted({model.name for model in self.models}))
            whence = " (the default)" if ref == "default" else ""
            raise NotFound(f"no model {wanted[:80]!r}{whence}; there is: {known}")
        usable = [model for model in named if model.loaded is not None]
        return (usable or named)[-1]

    def unready(self) -> str | None:
        """Why not everything is up, as a sentence; None when it is.

        A bundle that failed does not keep the others from serving.
        """
        if not self.models:
            return self.reason
        loading = [model.ref for model in self.models if model.state == "loading"]
        if loading:
            return f"loading {', '.join(loading)}"
        if not any(model.loaded for model in self.models):
            return "; ".join(f"{model.ref} failed: {model.reason}" for model in self.models)
        for model in self.models:
            if model.loaded and (trouble := model.loaded.batcher.trouble()):
                return f"{model.ref}: {trouble}"
        return None

    async def close(self, end: float) -> None:
        """Finish what waits, by `end` of time.monotonic(), then let everything go.

        No further model is opened; one that is being opened now is ready nonetheless, and wants
        another call once `load` has returned.
        """
        self._closed.set()
        loaded = [model.loaded for model in self.models if model.loaded is not None]
        grace = max(0.0, end - time.monotonic())
        await asyncio.gather(*(one.batcher.close(grace) for one in loaded))
        for one in loaded:
            one.engine.close()

    def _usable(self) -> list[Model]:
        return [model for model in self.models if model.state != "failed"]

    def _load(self, model: Model, slot: int) -> None:
        try:
            model.loaded = self._open(model, slot)
        except (BundleError, DeviceError, MemoryError) as error:
            model.reason = str(error) or "not enough memory"
        # Warming up runs the model's own graphs, and onnxruntime's errors have no common base.
        except Exception as error:
            log.exception("%s failed its warm-up", model.ref)
            model.reason = f"{model.path}: its graphs do not run: {error}"
        model.state = "ready" if model.loaded is not None else "failed"
        if model.loaded is None:
            log.error("model %s failed: %s", model.ref, model.reason)
        else:
            log.info("model %s is ready on %s", model.ref, model.loaded.engine.device)

    def _open(self, model: Model, slot: int) -> Loaded:
        bundle = read(model.path, name=model.name, version=model.version)
        check_inputs(bundle)
        memory.check_fits(bundle, free=memory.free_memory())
        settings = self._settings
        engine = Engine(bundle, device=settings.device, threads=settings.threads, slot=slot)
        engine.warm_up()
        batcher = Batcher(
            engine.run,
            plan=tuning.costs_of(engine, settings.cache),
            queue_limit=settings.queue_images,
            workers=engine.workers,
            on_batch=self._counting(bundle.manifest, engine),
        )
        return Loaded(bundle=bundle, engine=engine, batcher=batcher)

    def _counting(self, manifest: Manifest, engine: Engine) -> BatchTold | None:
        count = self._on_batch
        if count is None:
            return None

        def told(graph: str, outputs: Sequence[Array], seconds: float) -> None:
            rows = len(outputs[0])
            padding = padded(engine.buckets, rows) - rows
            count(manifest, graph, outputs, padding=padding, seconds=seconds)

        return told
