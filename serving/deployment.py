"""What one server process holds: settings, models, a pool for pixels, figures; its life cycle."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from serving import draining
from serving.cores import usable_cores
from serving.errors import NotReady
from serving.registry import Model, Registry
from serving.settings import Settings
from serving.telemetry import Metrics
from serving.workers import Crew

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
        self.slot = 0  # this worker's number, from 0
        self.draining = False  # nothing new is accepted
        self.arriving = 0  # bytes of request bodies that are not whole yet
        self._crew = crew
        # Why not all workers were up at the last beat.
        self._others = None if crew is None else "the other workers have not been asked yet"
        self._open = 0  # requests that are being answered
        # Pillow lets go of the interpreter while it decodes and encodes: a thread per core.
        self.cores = usable_cores()
        self._pixels = ThreadPoolExecutor(max(2, self.cores), thread_name_prefix="pixels")
        self._loading: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()
        self._end = math.inf  # when, by time.monotonic(), all must be over

    def start(self) -> int:
        """Begin to load the models; probes are answered meanwhile.  The worker's number, from 0."""
        if self._crew is not None:
            self.slot = self._crew.join()
            self._beating = asyncio.create_task(self._beat(self._crew))
        draining.on_signal(self.drain)
        self._loading = asyncio.create_task(self._load())
        return self.slot

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
            await asyncio.wait([self._loading])
            await self.registry.close(end)  # what was being opened meanwhile
        self._pixels.shutdown(wait=False, cancel_futures=True)
        if self._beating is not None and self._crew is not None:
            self._stopped.set()
            await asyncio.wait([self._beating])
            with contextlib.suppress(OSError):  # the slot goes with the process anyway
                await asyncio.to_thread(self._crew.leave)

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """While a request is being answered: `drain` waits for it."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

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

    async def aside(self, work: Callable[[], T]) -> T:
        """What `work` gives, computed on a thread of the pool for pixels."""
        return await asyncio.get_running_loop().run_in_executor(self._pixels, work)

    async def _load(self) -> None:
        try:
            await asyncio.to_thread(self.registry.load, self.slot)
        # The edge of a background task: what nobody foresaw has no other place to be told.
        except Exception as error:
            log.exception("the models cannot be loaded")
            self.registry.reason = f"the models cannot be loaded: {error}"
        for model in self.registry.models:
            self._count(model)

    async def _beat(self, crew: Crew) -> None:
        """Tell the other workers, and those who read the figures of all, how this one stands."""
        said = -math.inf
        while not self._stopped.is_set():
            try:
                self._others = await asyncio.to_thread(self._exchange, crew)
            except OSError:  # a full disk, say: it may have room again
                if time.monotonic() - said > _SILENT:
                    log.exception("the other workers cannot be told how this one stands")
                    said = time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), _BEAT)

    def _exchange(self, crew: Crew) -> str | None:
        """Tell how this worker stands; why not all of them are up."""
        crew.tell(ready=not self.draining and self.registry.unready() is None)
        self._gauge()
        return crew.unready()

    def _gauge(self) -> None:
        standing = [
            (model.name, model.loaded.batcher)
            for model in self.registry.models
            if model.loaded is not None
        ]
        self.metrics.gauge(standing, worker=self.slot, open_requests=self._open)

    def _count(self, model: Model) -> None:
        if model.loaded is not None:
            device = model.loaded.engine.device
            self.metrics.loaded.labels(model.name, str(model.version), device).set(1)
