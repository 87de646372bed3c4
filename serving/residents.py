"""Which models are in memory: loaded on demand or on order, unloaded to make room or on order.

One change at a time.  Nobody is dropped for it: a model that goes is no longer found, and is let
go once the requests that began with it have ended.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Final

from serving.errors import NotReady
from serving.model import Model
from serving.registry import UNWANTED, Registry

_LOOK: Final = 0.01  # seconds between two looks at whether a model is still in use


class Residents:
    """Changes what of `registry` is loaded; belongs to its process's event loop.

    Args:
        registry: The models.
        patience: Seconds that a request may hold on to a model that is to go.
        changed: Told of each model that became ready, or is no longer.
    """

    def __init__(
        self, registry: Registry, *, patience: float, changed: Callable[[Model], None]
    ) -> None:
        self._registry = registry
        self._patience = patience
        self._changed = changed
        self._turn = asyncio.Lock()  # whoever has it changes something
        self._waking: dict[Model, asyncio.Task[None]] = {}

    async def load_all(self, only: Collection[str] | None) -> None:
        """Find and load what there is room for; of NAME@VERSIONs `only` these, None: all."""
        async with self._turn:
            await asyncio.to_thread(self._registry.load, self._registry.slot, only=only)
            for model in self._registry.models:
                self._changed(model)

    async def woken(self, ref: str, deadline: float) -> Model:
        """The model that `ref` means, loaded if it was only for want of room that it was not.

        Raises:
            NotFound: there is none.
            NotReady: it was not loaded by `deadline` of time.monotonic(), but will be.
        """
        while (model := self._registry.get(ref)).resting:
            task = self._waking.get(model) or self._begin_to_wake(model)
            await asyncio.wait([task], timeout=max(0.0, deadline - time.monotonic()))
            if not task.done():
                raise NotReady(f"model {model.ref} is being loaded", retry_after=2)
            task.result()  # what nobody foresaw
        return model

    async def find(self) -> str:
        """Look into the folder again; what is wrong with its aliases, or "".

        Raises BundleError if it is no folder any more.
        """
        async with self._turn:
            return await asyncio.to_thread(self._registry.find)

    async def load(self, ref: str) -> str:
        """Load NAME@VERSION, or its copy on disk where that has changed; why that failed, or "".

        What is loaded goes on answering until its successor is ready, and after that if it fails.
        """
        async with self._turn:
            model = self._registry.known(ref)
            if model is None:
                return f"no model {ref}"
            if model.loaded is not None:
                return await self._renew(model)
            model.state, model.reason, model.unwanted = "loading", "", False
            await self._load(model)
            return model.reason

    async def unload(self, ref: str) -> str:
        """Unload NAME@VERSION until somebody loads it again; why that failed, or ""."""
        async with self._turn:
            model = self._registry.known(ref)
            if model is None:
                return f"no model {ref}"
            await self._let_go(model, model.unloaded(UNWANTED, resting=False))
            return ""

    async def settle(self) -> None:
        """Wait for what is being changed."""
        if self._waking:
            await asyncio.wait(list(self._waking.values()))
        async with self._turn:
            pass

    def _begin_to_wake(self, model: Model) -> asyncio.Task[None]:
        task = self._waking[model] = asyncio.create_task(self._wake(model))
        task.add_done_callback(lambda _: self._waking.pop(model))
        return task

    async def _wake(self, model: Model) -> None:
        async with self._turn:
            if model.resting and self._registry.known(model.ref) is model:
                model.state = "loading"
                await self._load(model)

    async def _load(self, model: Model) -> None:
        """Open the model, in the place of those least recently used where there is no room."""
        bundle = await asyncio.to_thread(self._registry.read, model)
        while bundle is not None and (why := self._registry.crowded(bundle)):
            loaded = [one for one in self._registry.models if one.loaded is not None]
            if not loaded:
                self._registry.fail(model, why)
                return
            idle = min(loaded, key=lambda one: one.used)
            reason = f"unloaded for {model.ref}, as {why}; a request loads it"
            await self._let_go(idle, idle.unloaded(reason, resting=True))
        if bundle is not None:
            await asyncio.to_thread(self._registry.open, model, bundle)
            self._changed(model)

    async def _renew(self, model: Model) -> str:
        """Put what is on disk now in the model's place, if it is another and any good."""
        new = Model(name=model.name, version=model.version, path=model.path)
        bundle = await asyncio.to_thread(self._registry.read, new)
        same = bundle is not None and bundle.manifest == model.manifest
        if bundle is not None and not same:
            await asyncio.to_thread(self._registry.open, new, bundle)
        model.reason = f"a newer copy was not taken: {new.reason}" if new.reason else ""
        if new.loaded is not None:
            await self._let_go(model, new)
        return new.reason

    async def _let_go(self, model: Model, successor: Model) -> None:
        self._registry.replace(model, successor)
        if model.loaded is None:
            return
        self._changed(successor)
        end = time.monotonic() + self._patience
        while model.users and time.monotonic() < end:
            await asyncio.sleep(_LOOK)
        await model.loaded.batcher.close(max(0.0, end - time.monotonic()))
        model.loaded.engine.close()
