"""How near the engine is to its runtime: images a second of both, side by side, in one process."""

import asyncio
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt
import onnxruntime as ort

from serving.bundle import Bundle, find_bundles
from serving.cores import usable_cores
from serving.errors import BundleError
from serving.graph_sessions import graph_session
from serving.model import Loaded
from serving.registry import Registry
from serving.settings import Settings
from serving.tuning import noise

Array = npt.NDArray[Any]
GRAPHS: Final = ("encode", "decode", "reconstruct", "score")
BATCHES: Final = (1, 4, 16, 32, 64, 128, 256)
_WARM_UP: Final = 2  # runs
_DEPTH: Final = 2  # requests in flight for each engine thread: one computes while one waits


@dataclass(frozen=True, slots=True)
class Setting:
    """How a raw session is used."""

    callers: int  # threads that call it at once
    threads: int  # that each call computes on
    spinning: bool  # whether threads that wait burn their core

    def __str__(self) -> str:
        spins = ", spinning" if self.spinning else ""
        return f"{self.callers} x {self.threads}{spins}"


@dataclass(frozen=True, slots=True)
class Speed:
    """Images per second, and per second that a core of this process was busy."""

    images: float
    per_cpu_second: float


@dataclass(kw_only=True, slots=True)
class Row:
    """One graph at one batch size; medians of the rounds."""

    graph: str
    batch: int
    raw: dict[Setting, Speed] = field(default_factory=dict)
    engine: Speed = Speed(0, 0)  # Engine.run on as many threads as it has workers
    batcher: Speed = Speed(0, 0)  # through the batcher, as a server does

    @property
    def best(self) -> Setting:
        """The setting at which the raw session was fastest."""
        return max(self.raw, key=lambda setting: self.raw[setting].images)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        best = self.raw[self.best]
        return {
            "graph": self.graph,
            "batch": self.batch,
            "raw": {str(key): round(speed.images, 1) for key, speed in self.raw.items()},
            "raw_setting": str(self.best),
            "raw_images": round(best.images, 1),
            "raw_per_cpu_second": round(best.per_cpu_second, 1),
            "engine_images": round(self.engine.images, 1),
            "batcher_images": round(self.batcher.images, 1),
            "batcher_per_cpu_second": round(self.batcher.per_cpu_second, 1),
            "engine_to_raw": round(self.engine.images / best.images, 3),
            "batcher_to_raw": round(self.batcher.images / best.images, 3),
        }


def settings_of(cores: int, device: str) -> list[Setting]:
    """What is tried for a raw session: one caller, all cores in one call, a caller per core."""
    if device != "cpu":
        return [Setting(1, 1, False), Setting(2, 1, False)]
    tried = [Setting(1, 1, False)]
    if cores > 1:
        tried += [Setting(1, cores, True), Setting(1, cores, False), Setting(cores, 1, False)]
    return tried


def opened(path: Path, device: str = "auto") -> Loaded:
    """The bundle at `path`, opened as a server opens it.

    Raises BundleError or ServingError, which say why it cannot be.
    """
    found = find_bundles(path)
    if not found:
        raise BundleError(f"no bundle in {path}")
    registry = Registry(Settings(models=found[0].path, device=device))  # type: ignore[arg-type]
    registry.load()
    return registry.get("default").ready


def measured(
    loaded: Loaded, *, graphs: Sequence[str], batches: Sequence[int], seconds: float, rounds: int
) -> Iterator[Row]:
    """A row for each graph and batch size, as it is done.

    Args:
        loaded: An opened bundle.
        graphs: Names of graphs that it has.
        batches: Rows in each call, or request.
        seconds: Of each measurement.
        rounds: How often all are measured, one after the other.
    """
    for graph in graphs:
        info = loaded.bundle.manifest.graphs[graph]
        sessions = {
            setting: raw_session(loaded.bundle, graph, setting, loaded.engine.device)
            for setting in settings_of(usable_cores(), loaded.engine.device)
        }
        for batch in batches:
            inputs = tuple(noise(tensor, batch) for tensor in info.inputs)
            yield _row(loaded, graph, batch, sessions, inputs, seconds=seconds, rounds=rounds)


def _row(
    loaded: Loaded,
    graph: str,
    batch: int,
    sessions: dict[Setting, ort.InferenceSession],
    inputs: tuple[Array, ...],
    *,
    seconds: float,
    rounds: int,
) -> Row:
    names = [tensor.name for tensor in loaded.bundle.manifest.graphs[graph].inputs]
    feed = dict(zip(names, inputs, strict=True))
    raw: dict[Setting, list[Speed]] = {setting: [] for setting in sessions}
    engine: list[Speed] = []
    batcher: list[Speed] = []
    for _ in range(rounds):
        for setting, session in sessions.items():
            raw[setting].append(speed_of(lambda s=session: s.run(None, feed),  # type: ignore[misc]
                                         setting.callers, batch, seconds))  # fmt: skip
        engine.append(
            speed_of(
                lambda: loaded.engine.run(graph, inputs), loaded.engine.workers, batch, seconds
            )
        )
        batcher.append(asyncio.run(_batched(loaded, graph, inputs, seconds)))
    return Row(
        graph=graph,
        batch=batch,
        raw={setting: _median(speeds) for setting, speeds in raw.items()},
        engine=_median(engine),
        batcher=_median(batcher),
    )


def raw_session(
    bundle: Bundle, graph: str, setting: Setting, device: str = "cpu"
) -> ort.InferenceSession:
    """A session with these threads, and otherwise as onnxruntime has it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = setting.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(setting.spinning)))
    providers = ["CUDAExecutionProvider"] if device == "cuda" else ["CPUExecutionProvider"]
    return graph_session(bundle, graph, bundle.contents(), options, providers)


def speed_of(run: Callable[[], object], callers: int, rows: int, seconds: float) -> Speed:
    """The speed of `run`, which computes `rows`, called over and over by so many threads."""
    for _ in range(_WARM_UP):
        run()
    counts = [0] * callers
    begin, busy = time.perf_counter(), time.process_time()
    end = begin + seconds

    def call(place: int) -> None:
        while not counts[place] or time.perf_counter() < end:  # once, however busy the machine
            run()
            counts[place] += 1

    threads = [threading.Thread(target=call, args=(place,)) for place in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    images = sum(counts) * rows
    return Speed(
        images / (time.perf_counter() - begin), images / max(time.process_time() - busy, 1e-9)
    )


async def _batched(loaded: Loaded, graph: str, inputs: tuple[Array, ...], seconds: float) -> Speed:
    """The speed through the batcher, with as many requests waiting as computing."""
    for _ in range(_WARM_UP):
        await loaded.batcher.submit(graph, inputs)
    done = 0
    begin, busy = time.perf_counter(), time.process_time()
    end = begin + seconds

    async def call() -> None:
        nonlocal done
        own = 0
        while not own or time.perf_counter() < end:
            await loaded.batcher.submit(graph, inputs)
            own += 1
        done += own

    await asyncio.gather(*(call() for _ in range(loaded.engine.workers * _DEPTH)))
    images = done * len(inputs[0])
    return Speed(
        images / (time.perf_counter() - begin), images / max(time.process_time() - busy, 1e-9)
    )


def _median(speeds: Sequence[Speed]) -> Speed:
    return Speed(
        statistics.median(one.images for one in speeds),
        statistics.median(one.per_cpu_second for one in speeds),
    )
