"""From a bundle that was read to what a model computes with: sessions, warm, and their batcher."""

from collections.abc import Callable, Sequence
from typing import Protocol

from serving import memory, tuning
from serving.batching import Batcher
from serving.bundle import Bundle, Manifest
from serving.costs import padded
from serving.engine import Engine
from serving.model import Loaded
from serving.queueing import Array
from serving.settings import Settings
from serving.tally import Tally

BatchTold = Callable[[str, Sequence[Array], float], None]  # graph, outputs, seconds


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


def opened(bundle: Bundle, settings: Settings, *, slot: int, on_batch: OnBatch | None) -> Loaded:
    """The bundle, ready to be asked; takes a while.

    Args:
        slot: The number of this process among the server's workers.
        on_batch: Told of each batch.
    Raises:
        BundleError: it does not fit into memory, or a graph is no good.
        DeviceError: the settings' device is not there.
    """
    memory.check_fits(bundle, free=memory.free_memory())
    engine = Engine(bundle, device=settings.device, threads=settings.threads, slot=slot)
    engine.warm_up()
    tally = Tally()
    batcher = Batcher(
        engine.run,
        plan=tuning.costs_of(engine, settings.cache),
        queue_limit=settings.queue_images,
        workers=engine.workers,
        on_batch=_told(tally, on_batch, bundle.manifest, engine),
    )
    return Loaded(bundle=bundle, engine=engine, batcher=batcher, tally=tally)


def _told(tally: Tally, on_batch: OnBatch | None, manifest: Manifest, engine: Engine) -> BatchTold:
    def told(graph: str, outputs: Sequence[Array], seconds: float) -> None:
        rows = len(outputs[0])
        tally.computed(graph, rows, seconds)
        if on_batch is not None:
            padding = padded(engine.buckets, rows) - rows
            on_batch(manifest, graph, outputs, padding=padding, seconds=seconds)

    return told
