"""What one server process holds: settings, models, a pool for pixels, figures; its life cycle."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from serving import draining
from serving.cores import usable_cores
from serving.errors import BundleError, DeadlineExceeded, NotReady, Unprocessable
from serving.model import Model
from serving.pixels import PixelThreads
from serving.registry import Registry
from serving.residents import Residents
from serving.settings import Settings
from serving.telemetry import Metrics, Trace
from serving.workers import Action, Crew, Order

T = TypeVar("T")
_BEAT: Final = 0.25  # seconds between two words to the other workers
_LOOK: Final = 0.02  # and between two looks at whether everything is answered
_SILENT: Final = 60  # and between two lines about the same trouble
log = logging.getLogger("biject.deployment")


class Deployment:
    """One process's share of the service; `start` and `stop` belong to its event loop.

    Args:
        settings: The server's.
        crew: The server's workers, where this process is one of them.
    """

    def __init__(self, settings: Settings, *, crew: Crew | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.registry = Registry(settings, on_batch=self.metrics.computed)
        self._residents = Residents(
            self.registry, patience=settings.deadline_ms / 1e3, changed=self._count
        )
        self.slot = 0  # this worker's number, from 0
        self.draining = False  # nothing new is accepted
        self.arriving = 0  # bytes of request bodies that are not whole yet
        self._crew = crew
        # Why not all workers were up at the last beat.
        self._others = None if crew is None else "the other workers have not been asked yet"
        self._open = 0  # requests that are being answered
        # Pillow lets go of the interpreter while it decodes and encodes: a thread per core.
        self.cores = usable_cores()
        self._pixels = PixelThreads(max(2, self.cores))
        self._loading: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._orders: list[Order] = []  # that are to be carried out, as of the last beat
        self._obeyed = 0  # the number of the last one that was
        self._obeying: asyncio.Task[None] | None = None
        self._changing: set[asyncio.Task[Any]] = set()  # what loads and unloads models
        self._devices: dict[str, str] = {}  # of the models that are counted as ready
        self._stopped = asyncio.Event()
        self._end = math.inf  # when, by time.monotonic(), all must be over

    def start(self) -> int:
        """Begin to load the models; probes are answered meanwhile.  The worker's number, from 0."""
        if self._crew is not None:
            self.slot = self._crew.join()
            self._beating = asyncio.create_task(self._beat(self._crew))
        draining.on_signal(self.drain)
        self.registry.slot = self.slot
        self._loading = asyncio.create_task(self._load())
        return self.slot

    async def useful(self) -> None:
        """Wait until this process had better be asked: for its models, if others answer meanwhile.

        Where nobody does, whoever asks is to hear that the models are loading.
        """
        if self._crew is None or self._loading is None:
            return
        with contextlib.suppress(OSError):  # the beats log it
            if await asyncio.to_thread(self._crew.any_ready):
                await asyncio.wait([self._loading])

    async def drain(self) -> None:
        """Accept nothing new, and wait until what was accepted is answered; not for ever."""
        self.draining = True
        self._end = time.monotonic() + draining.GRACE - draining.ENDING
        end = time.monotonic() + draining.FINISHING
        while self._open and time.monotonic() < end:
            await asyncio.sleep(_LOOK)

    async def stop(self) -> None:
        """Finish what was accepted, then end."""
        self.draining = True
        # Where nobody drained, as under a server of somebody else's, the time begins here.
        end = min(self._end, time.monotonic() + draining.FINISHING)
        await self.registry.close(end)
        if self._loading is not None:
            await asyncio.wait([self._loading, *self._changing])
            await self._residents.settle()
            await self.registry.close(end)  # what was being opened meanwhile
        self._pixels.close()
        if self._beating is not None and self._crew is not None:
            self._stopped.set()
            await asyncio.wait([self._beating])
            with contextlib.suppress(OSError):  # the slot goes with the process anyway
                await asyncio.to_thread(self._crew.leave)

    def begin_answer(self) -> None:
        """A request is being answered: `drain` waits until `end_answer`."""
        self._open += 1

    def end_answer(self) -> None:
        """It has been."""
        self._open -= 1

    async def model(self, ref: str, verb: str, trace: Trace) -> Model:
        """The model that `ref` means, ready, for the request of `trace`, which it will outlive.

        Raises:
            NotFound: there is none of that name.
            NotReady: it is not loaded, and was not in time if that is why it was not.
        """
        model = self.registry.get(ref)
        trace.model, trace.verb = model.name, verb
        if model.resting:
            model = await self._residents.woken(ref, trace.deadline)
        model.used = time.monotonic()
        trace.hold(model)
        return model

    async def order(self, action: Action, ref: str, trace: Trace) -> Model:
        """Have all workers load or unload a model; how it stands here afterwards.

        The folder is looked into first, so that what is new in it can be loaded; a bare name is
        the newest version there to be loaded, and the one that answers to be unloaded.

        Raises:
            NotFound: there is none of that name.
            Unprocessable: the bundle, or to load it the folder's aliases, are no good; what was
                loaded stays.
            DeadlineExceeded: not all workers have done it yet.
        """
        try:
            async with asyncio.timeout(trace.deadline - time.monotonic()):
                trouble = await asyncio.shield(self._change(self._look()))
                if trouble and action == "load":
                    raise Unprocessable(trouble)
                registry = self.registry
                ref = (registry.newest(ref) if action == "load" else registry.get(ref)).ref
                work = self._ordered(action, ref, trace.deadline)
                failure = await asyncio.shield(self._change(work))
        except TimeoutError as error:
            raise DeadlineExceeded(f"{ref}: {action} goes on, but takes longer") from error
        if failure:
            raise Unprocessable(f"model {ref} failed to {action}: {failure}")
        return self.registry.get(ref)

    def check_accepting(self) -> None:
        """Raises NotReady once the server is to end."""
        if self.draining:
            raise NotReady("the server is shutting down")

    def check_ready(self) -> None:
        """Raises NotReady, which says why, unless all that can be served is warm in all workers.

        Of the others it knows what the last beat found: anybody may ask, as often as he likes.
        """
        self.check_accepting()
        why = self.registry.unready() or self._others
        if why:
            raise NotReady(why, retry_after=2)

    def render_metrics(self) -> bytes:
        """This process's figures, or those of all workers, for Prometheus."""
        self._gauge()
        if self._crew is not None:
            with contextlib.suppress(OSError):  # the beats log it, and figures are better than none
                self._crew.bury()
        return self.metrics.render()

    async def aside(self, work: Callable[[], T], *, small: bool = False) -> T:
        """What `work` gives, computed on one of the threads for pixels; together with others' work
        that takes no time to speak of, either."""
        return await (self._pixels.run_small(work) if small else self._pixels.run(work))

    async def _load(self) -> None:
        try:
            if self._crew is None:
                await self._residents.load_all(None)
                return
            with contextlib.suppress(BundleError):  # `load` finds and says the same
                await self._residents.find()
            found = [model.ref for model in self.registry.models]
            only, self._obeyed = await asyncio.to_thread(self._crew.wanted, found)
            await self._residents.load_all(only)
            await asyncio.to_thread(self._crew.did, self._obeyed)
        # The edge of a background task: what nobody foresaw has no other place to be told.
        except Exception as error:
            log.exception("the models cannot be loaded")
            self.registry.reason = f"the models cannot be loaded: {error}"

    def _change(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Have it done, whether anybody waits for it or not."""
        task = asyncio.create_task(work)
        self._changing.add(task)
        task.add_done_callback(self._changing.discard)
        return task

    async def _look(self) -> str:
        """Look into the folder; what is wrong with it, or "".  What is known stays as it is."""
        try:
            return await self._residents.find()
        except BundleError as error:
            log.error("%s", error)
            return str(error)

    async def _ordered(self, action: Action, ref: str, deadline: float) -> str:
        """Have all workers do it; why that failed somewhere, or ""."""
        if self._crew is None:
            return await self._do(action, ref, deadline)
        number = await asyncio.to_thread(self._crew.order, action, ref)
        while (failures := await asyncio.to_thread(self._crew.outcome, number)) is None:
            if self.draining:
                return "the server is shutting down"
            await asyncio.sleep(_LOOK)
        return "; ".join(dict.fromkeys(failures))

    async def _do(self, action: Action, ref: str, deadline: float) -> str:
        if action == "load":
            return await self._residents.load(ref, deadline)
        return await self._residents.unload(ref)

    async def _obey(self, crew: Crew, orders: Sequence[Order]) -> None:
        """Carry out the orders of one worker to all, and tell that it is done."""
        for order in orders:
            try:
                deadline = time.monotonic() + self.settings.deadline_ms / 1e3
                await self._look()
                failure = await self._do(order.action, order.ref, deadline)
            # The edge of a background task: the others wait to hear of it.
            except Exception as error:
                log.exception("%s %s failed", order.action, order.ref)
                failure = repr(error)
            self._obeyed = order.number
            while not self._stopped.is_set():
                try:
                    await asyncio.to_thread(crew.did, order.number, failure)
                    break
                except OSError:  # the beats log it
                    await asyncio.sleep(_BEAT)

    async def _beat(self, crew: Crew) -> None:
        """Tell the other workers, and those who read the figures of all, how this one stands."""
        said = -math.inf
        while not self._stopped.is_set():
            try:
                self._others = await asyncio.to_thread(self._exchange, crew)
            # The edge of a background task.  A full disk, say: it may have room again.
            except Exception:
                if time.monotonic() - said > _SILENT:
                    log.exception("the other workers cannot be told how this one stands")
                    said = time.monotonic()
            new = [order for order in self._orders if order.number > self._obeyed]
            if new and self._is_free():
                self._obeying = self._change(self._obey(crew, new))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), _BEAT)

    def _is_free(self) -> bool:
        """Whether it can carry out orders now: one after another, and after the first models."""
        return all(task is None or task.done() for task in (self._loading, self._obeying))

    def _exchange(self, crew: Crew) -> str | None:
        """Tell how this worker stands; why not all of them are up."""
        crew.tell(ready=not self.draining and self.registry.unready() is None)
        self._orders = crew.orders(self._obeyed)
        self._gauge()
        return crew.unready()

    def _gauge(self) -> None:
        standing = [
            (model.name, model.version, model.loaded.batcher)
            for model in self.registry.models
            if model.loaded is not None
        ]
        self.metrics.gauge(standing, worker=self.slot, open_requests=self._open)

    def _count(self, model: Model) -> None:
        """Count the model among those that are ready, or no longer."""
        if device := self._devices.pop(model.ref, ""):
            self.metrics.loaded.labels(model.name, str(model.version), device).set(0)
        if model.loaded is not None:
            device = self._devices[model.ref] = model.loaded.engine.device
            self.metrics.loaded.labels(model.name, str(model.version), device).set(1)
