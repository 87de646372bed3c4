"""Which models are in memory: loaded on demand or on order, unloaded to make room or on order.

One change at a time.  Nobody is dropped for it: a model that goes is no longer found, and is let
go once the requests that began with it have ended.  The next change waits for that only where it
wants the room, and no longer than whoever asked for it.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Final

from serving.bundle import Bundle
from serving.errors import NotReady
from serving.model import Loaded, Model
from serving.registry import UNWANTED, Registry

_LOOK: Final = 0.01  # seconds between two looks at whether a model is still in use
_ROUND: Final = 0.5  # and that one is waited for before another makes room as well


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
        self._leaving: dict[asyncio.Task[None], Loaded] = {}  # unloaded, but still in memory

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
            NotReady: it was not loaded by `deadline` of time.monotonic(), or there was no room.
        """
        while (model := self._registry.get(ref)).resting:
            left = deadline - time.monotonic()
            task = self._waking.get(model)
            if task is None and left <= 0:
                raise NotReady(f"model {model.ref} {model.reason}", retry_after=2)
            task = task or self._begin_to_wake(model, deadline)
            await asyncio.wait([task], timeout=max(0.0, left))
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

    async def load(self, ref: str, deadline: float) -> str:
        """Load NAME@VERSION, or its copy on disk where that has changed; why that failed, or "".

        Room is waited for until `deadline` of time.monotonic().
        What is loaded goes on answering until its successor is ready, and after that if it fails.
        """
        async with self._turn:
            model = self._registry.known(ref)
            if model is None:
                return f"no model {ref}"
            if model.loaded is not None:
                return await self._renew(model)
            model.state, model.reason, model.unwanted = "loading", "", False
            await self._load(model, deadline)
            return model.reason

    async def unload(self, ref: str) -> str:
        """Unload NAME@VERSION until somebody loads it again; why that failed, or ""."""
        async with self._turn:
            model = self._registry.known(ref)
            if model is None:
                return f"no model {ref}"
            leaving = self._let_go(model, model.unloaded(UNWANTED, resting=False))
        if leaving is not None:
            await leaving
        return ""

    async def settle(self) -> None:
        """Wait for what is being changed."""
        if self._waking:
            await asyncio.wait(list(self._waking.values()))
        async with self._turn:
            pass
        if self._leaving:
            await asyncio.wait(list(self._leaving))

    def _begin_to_wake(self, model: Model, deadline: float) -> asyncio.Task[None]:
        task = self._waking[model] = asyncio.create_task(self._wake(model, deadline))
        task.add_done_callback(lambda _: self._waking.pop(model))
        return task

    async def _wake(self, model: Model, deadline: float) -> None:
        async with self._turn:
            if model.resting and self._registry.known(model.ref) is model:
                model.state = "loading"
                await self._load(model, deadline)

    async def _load(self, model: Model, deadline: float) -> None:
        """Open the model, in the place of others where there is no room."""
        bundle = await asyncio.to_thread(self._registry.read, model)
        if bundle is not None and await self._make_room(model, bundle, deadline):
            await asyncio.to_thread(self._registry.open, model, bundle)
            self._changed(model)

    async def _make_room(self, model: Model, bundle: Bundle, deadline: float) -> bool:
        """Unload others until `bundle` fits; whether it does, by `deadline`.

        Those go first that no request uses, and of these the one least recently used: what is in
        use gives no room before its last request has ended, or waits for a slow reader.
        """
        while why := self._registry.crowded(bundle, self._leaving.values()):
            loaded = [one for one in self._registry.models if one.loaded is not None]
            if not loaded and not self._leaving:
                self._registry.fail(model, why)
                return False
            left = deadline - time.monotonic()
            if left <= 0:
                model.state, model.resting = "unloaded", True
                model.reason = f"finds no room in time, as {why}; a request loads it"
                return False
            if loaded:
                victim = min(loaded, key=lambda one: (one.users > one.pausing, one.used))
                victim.displaced = True
                reason = f"unloaded for {model.ref}, as {why}; a request loads it"
                self._let_go(victim, victim.unloaded(reason, resting=True))
            await asyncio.wait(
                list(self._leaving),
                timeout=min(left, _ROUND) if loaded else left,
                return_when=asyncio.FIRST_COMPLETED,
            )
        return True

    async def _renew(self, model: Model) -> str:
        """Put what is on disk now in the model's place, if it is another and any good."""
        new = Model(name=model.name, version=model.version, path=model.path)
        bundle = await asyncio.to_thread(self._registry.read, new)
        same = bundle is not None and bundle.manifest == model.manifest
        if bundle is not None and not same:
            await asyncio.to_thread(self._registry.open, new, bundle)
        model.reason = f"a newer copy was not taken: {new.reason}" if new.reason else ""
        if new.loaded is not None:
            self._let_go(model, new)
        return new.reason

    def _let_go(self, model: Model, successor: Model) -> asyncio.Task[None] | None:
        """Have `successor` answer in the model's place; what ends once its memory is free."""
        self._registry.replace(model, successor)
        if model.loaded is None:
            return None
        self._changed(successor)
        task = asyncio.create_task(self._end(model, model.loaded))
        self._leaving[task] = model.loaded
        task.add_done_callback(self._leaving.pop)
        return task

    async def _end(self, model: Model, loaded: Loaded) -> None:
        end = time.monotonic() + self._patience
        while model.users > model.pausing * model.displaced and time.monotonic() < end:
            await asyncio.sleep(_LOOK)
        await loaded.batcher.close(max(0.0, end - time.monotonic()))
        loaded.engine.close()
