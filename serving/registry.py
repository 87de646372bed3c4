"""The models in a folder: which there are, what state each is in, and which one a name means."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from serving import aliases, memory
from serving.bundle import Bundle, find_bundles, read
from serving.errors import BundleError, DeviceError, NotFound, NotReady
from serving.model import Loaded, Model
from serving.opening import OnBatch, opened
from serving.settings import Settings
from serving.verbs import check_inputs

UNWANTED: Final = "an administrator unloaded it"
NEW: Final = "an administrator is to load it"
log = logging.getLogger("biject.registry")


class Registry:
    """All bundles under one folder.

    `find` is quick; `load` opens and warms up what was found, which takes a while and may run on
    any thread.  A bundle that cannot be opened fails alone and says why.  What is loaded and
    unloaded afterwards is serving.residents' business.
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
        self._loaded = False  # what was there at the start has been tried
        self.slot = 0  # the number of this process among the server's workers
        self.models: list[Model] = []  # by name, then version
        self.aliases: Mapping[str, str] = aliases.NONE
        self.reason = "the models are loading"  # why there is nothing to serve

    def find(self) -> str:
        """List the bundles in the folder: new ones unopened, those known as they are.

        What is new once the first ones are loaded waits until somebody loads it.  Those that are
        no longer there are forgotten unless they are loaded.  What is wrong with the aliases, if
        anything, is given back, and the earlier ones stay.
        Raises BundleError if it is no such folder.
        """
        known = {(model.name, model.version): model for model in self.models}
        found = {
            (name, version): path for name, version, path in find_bundles(self._settings.models)
        }
        kept = {
            key: model
            for key, model in known.items()
            if key in found or model.loaded or model.state == "loading"
        }
        new = {
            (name, version): Model(name=name, version=version, path=path)
            for (name, version), path in found.items()
            if (name, version) not in known
        }
        if self._loaded:
            new = {key: model.unloaded(NEW, resting=False) for key, model in new.items()}
        self.models = [model for _, model in sorted((kept | new).items())]
        try:
            self.aliases = aliases.read(self._settings.models)
        except BundleError as error:
            log.error("%s", error)
            return str(error)
        for name in sorted(self.aliases.keys() & {model.name for model in self.models}):
            log.warning("%s is a model: the alias of that name stands for nothing", name)
        return ""

    def load(self, slot: int = 0, *, only: Collection[str] | None = None) -> None:
        """Find, open and warm up all; afterwards each model is ready, failed or unloaded.

        Args:
            slot: The number of this process among the server's workers.
            only: NAME@VERSION of those that are to be loaded; None: all.
        """
        self.slot = slot
        try:
            self.find()
        except BundleError as error:
            self.reason = str(error)
            log.error("%s", error)
            self._loaded = True
            return
        if not self.models:
            self.reason = f"no bundle in {self._settings.models}"
            log.error("%s", self.reason)
        for model in self.models:
            if only is not None and model.ref not in only:
                self.replace(model, model.unloaded(NEW, resting=False))
        for model in self._by_need():
            if self._closed.is_set():
                return
            if model.state == "loading":
                self._load(model, slot)
        self._loaded = True

    def get(self, ref: str) -> Model:
        """The model called `NAME`, `NAME@VERSION`, `default` or an alias of one of these.

        A bare name means the newest version that loaded.
        Raises NotFound, which lists what there is.
        """
        wanted = self.meant(ref)
        name, at, version = wanted.partition("@")
        named = [model for model in self.models if model.name == name]
        if at:
            named = [model for model in named if str(model.version) == version]
        if not named:
            raise self._unknown(ref, wanted)
        usable = [model for model in named if model.answers]
        return (usable or named)[-1]

    def newest(self, ref: str) -> Model:
        """As `get`, but a bare name means the newest version, whatever its state."""
        wanted = self.meant(ref)
        if "@" not in wanted:
            versions = [model.version for model in self.models if model.name == wanted]
            wanted = f"{wanted}@{versions[-1]}" if versions else wanted
        return self.get(wanted)

    def known(self, ref: str) -> Model | None:
        """The model called NAME@VERSION exactly, if there is one."""
        return next((model for model in self.models if model.ref == ref), None)

    def meant(self, ref: str) -> str:
        """NAME or NAME@VERSION that `ref` stands for.  Raises NotReady if there is no default."""
        if ref == "default":
            ref = self._settings.default or next((m.name for m in self._usable()), "")
            if not ref:
                raise NotReady(self.unready() or self.reason, retry_after=2)
        if any(model.name == ref for model in self.models):
            return ref
        return self.aliases.get(ref, ref)

    def replace(self, old: Model, new: Model) -> None:
        """Put `new` in the place of `old`: whoever asks from now on gets that."""
        self.models = [new if model is old else model for model in self.models]

    def unready(self) -> str | None:
        """Why not everything is up, as a sentence; None when it is.

        A bundle that failed does not keep the others from serving, nor does one that is loaded
        later than the first ones.
        """
        if not self.models:
            return self.reason
        loading = [model.ref for model in self.models if model.state == "loading"]
        if loading and not self._loaded:
            return f"loading {', '.join(loading)}"
        if not any(model.answers for model in self.models):
            return "; ".join(_standing(model) for model in self.models)
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

    def crowded(self, bundle: Bundle, leaving: Iterable[Loaded] = ()) -> str | None:
        """Why `bundle` may not be loaded beside what is, as a sentence; None if it may.

        `leaving` is what nobody finds any more, and takes its memory still.
        """
        loaded = [model.loaded for model in self.models if model.loaded is not None]
        here = [one.bundle for one in [*loaded, *leaving]]
        settings = self._settings
        return memory.crowded(
            here, bundle, models=settings.max_models, size=settings.max_model_bytes
        )

    def read(self, model: Model) -> Bundle | None:
        """The model's bundle, every file checked; None, and the model failed, if it is no good."""
        with self._reported(model):
            bundle = read(model.path, name=model.name, version=model.version)
            check_inputs(bundle)
            model.bundle = bundle
            return bundle
        return None

    def open(self, model: Model, bundle: Bundle) -> None:
        """Warm `bundle` up for `model`, which is ready or failed afterwards."""
        with self._reported(model):
            model.loaded = opened(bundle, self._settings, slot=self.slot, on_batch=self._on_batch)
            model.state, model.reason, model.resting = "ready", "", False
            model.used = time.monotonic()
            log.info("model %s is ready on %s", model.ref, model.loaded.engine.device)

    def fail(self, model: Model, reason: str) -> None:
        """Note that `model` cannot be loaded."""
        model.state, model.reason, model.resting = "failed", reason, False
        log.error("model %s failed: %s", model.ref, reason)

    def _unknown(self, ref: str, wanted: str) -> NotFound | NotReady:
        if not self.models:
            return NotReady(self.reason, retry_after=2)
        name = wanted.partition("@")[0]
        versions = [model.ref for model in self.models if model.name == name]
        names = sorted({model.name for model in self.models} | self.aliases.keys())
        known = ", ".join(versions or names)
        whence = " (the default)" if ref == "default" else ""
        if wanted != ref and not whence:
            whence = f" (which {ref} stands for)"
        return NotFound(f"no model {wanted[:80]!r}{whence}; there is: {known}")

    def _usable(self) -> list[Model]:
        return [model for model in self.models if model.state != "failed" and not model.unwanted]

    def _by_need(self) -> list[Model]:
        """All, in the order in which they are loaded: there may not be room for the last ones."""
        asked = [self._settings.default or "default", *self.aliases.values()]
        first: list[Model] = []
        for ref in [*asked, *(model.name for model in self.models)]:
            with contextlib.suppress(NotFound, NotReady):
                first.append(self.newest(ref))
        return list(dict.fromkeys([*first, *self.models]))

    def _load(self, model: Model, slot: int) -> None:
        bundle = self.read(model)
        if bundle is None:
            return
        if why := self.crowded(bundle):
            model.state, model.reason = "unloaded", f"{why}; a request loads it"
            model.resting = True
            log.info("model %s is not loaded: %s", model.ref, model.reason)
        else:
            self.open(model, bundle)

    @contextlib.contextmanager
    def _reported(self, model: Model) -> Iterator[None]:
        """What goes wrong with a bundle inside is the model's failure, and nobody else's."""
        try:
            yield
        except (BundleError, DeviceError, MemoryError) as error:
            self.fail(model, str(error) or "not enough memory")
        # Warming up runs the model's own graphs, and onnxruntime's errors have no common base.
        except Exception as error:
            log.exception("%s failed its warm-up", model.ref)
            self.fail(model, f"{model.path}: its graphs do not run: {error}")


def _standing(model: Model) -> str:
    how = "failed" if model.state == "failed" else "is not loaded"
    return f"{model.ref} {how}: {model.reason}"
