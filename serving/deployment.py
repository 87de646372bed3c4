"""What one server process holds: settings, models, a pool for pixels, figures; its life cycle."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from serving.cores import usable_cores
from serving.errors import NotReady
from serving.registry import Model, Registry
from serving.settings import Settings
from serving.telemetry import Metrics

T = TypeVar("T")


class Deployment:
    """One process's share of the service; `start` and `stop` belong to its event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.registry = Registry(settings, on_batch=self.metrics.computed)
        # Pillow lets go of the interpreter while it decodes and encodes: a thread per core.
        self._pixels = ThreadPoolExecutor(max(2, usable_cores()), thread_name_prefix="pixels")
        self._loading: asyncio.Task[None] | None = None
        self._draining = False

    def start(self) -> None:
        """Begin to load the models; probes are answered meanwhile."""
        self._loading = asyncio.get_running_loop().create_task(self._load())

    async def stop(self) -> None:
        """Finish what was accepted, then end."""
        self._draining = True
        await self.registry.close()
        if self._loading is not None:
            await asyncio.wait([self._loading])
        self._pixels.shutdown(wait=False, cancel_futures=True)

    def check_ready(self) -> None:
        """Raises NotReady, which says why, unless every model that can be served is warm."""
        why = "the server is shutting down" if self._draining else self.registry.unready()
        if why:
            raise NotReady(why, retry_after=2)

    def render_metrics(self) -> bytes:
        """This process's figures, or those of all workers, for Prometheus."""
        for model in self.registry.models:
            if model.loaded is not None:
                self.metrics.queued.labels(model.name).set(model.loaded.batcher.queued)
        return self.metrics.render()

    async def aside(self, work: Callable[[], T]) -> T:
        """What `work` gives, computed on a thread of the pool for pixels."""
        return await asyncio.get_running_loop().run_in_executor(self._pixels, work)

    async def _load(self) -> None:
        await asyncio.to_thread(self.registry.load)
        for model in self.registry.models:
            self._count(model)

    def _count(self, model: Model) -> None:
        if model.loaded is not None:
            device = model.loaded.engine.device
            self.metrics.loaded.labels(model.name, str(model.version), device).set(1)
