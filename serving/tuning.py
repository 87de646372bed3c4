"""Measure what batches cost with one engine on this machine, once: the table is kept in a cache.

Each size is run by as many threads at once as will serve, since they share caches and memory.
"""

import hashlib
import json
import logging
import math
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from serving.bundle import Bundle, TensorInfo
from serving.cores import usable_cores
from serving.costs import Costs, points_of
from serving.engine import Engine

BUDGET: Final = 2.0  # seconds for all graphs
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128)  # rows, where any number runs as it is
_TURNS: Final = 25  # at most
_VERSION: Final = 2  # of the cache's files
log = logging.getLogger("biject.tuning")


def costs_of(engine: Engine, cache: Path | None = None) -> Costs:
    """The cost table of `engine`: from the folder `cache`, else measured, and kept there.

    None means a folder in the user's own cache.
    """
    file = (cache or cache_folder()) / f"{_key(engine)}.json"
    known = _kept(file, engine)
    if known is not None:
        return known
    begin = time.monotonic()
    costs = measure(engine)
    best = ", ".join(f"{graph} {costs.most(graph)}" for graph in costs.points)
    log.info("measured in %.1f s; rows of the best batch: %s", time.monotonic() - begin, best)
    _keep(file, costs, engine)
    return costs


def measure(engine: Engine, budget: float = BUDGET) -> Costs:
    """Seconds of batches of every graph, at each bucket or at powers of two.

    Sizes are measured in turns until the graph's share of `budget` (seconds) has passed, and the
    quickest turn counts: what else runs on the machine comes and goes, the threads' effect on each
    other stays.  Without buckets, sizes that the share has no time for are left out.
    """
    graphs = list(engine.bundle.manifest.graphs)
    with ThreadPoolExecutor(engine.workers, thread_name_prefix="tuning") as pool:
        points = {
            graph: _measured(engine, graph, pool, time.monotonic() + budget / len(graphs))
            for graph in graphs
        }
    return Costs(points=points, buckets=engine.buckets)


def _measured(engine: Engine, graph: str, pool: ThreadPoolExecutor, end: float) -> dict[int, float]:
    tensors = engine.bundle.manifest.graphs[graph].inputs
    points: dict[int, float] = {}
    sizes: Sequence[int] = engine.buckets or _SIZES
    for turn in range(_TURNS):
        for rows in sizes:
            below = max((n for n in points if n <= rows), default=0)
            expected = points[below] * rows / below if below else 0.0
            late = time.monotonic() + expected > end
            if late and (turn or (points and not engine.buckets)):
                break
            inputs = [noise(tensor, rows) for tensor in tensors]
            running = [pool.submit(_seconds, engine, graph, inputs) for _ in range(engine.workers)]
            try:
                seconds = max(median([run.result() for run in running]), 1e-9)
            # Too large for memory, say: what onnxruntime raises has no common base.
            except Exception as error:
                if not points or engine.buckets:
                    raise
                log.warning("%s fails on %d rows, so it gets fewer: %s", graph, rows, error)
                sizes = [size for size in sizes if size < rows]
                break
            points[rows] = min(points.get(rows, math.inf), seconds)
    return points


def _seconds(engine: Engine, graph: str, inputs: Sequence[Any]) -> float:
    begin = time.perf_counter()
    engine.run(graph, inputs)
    return time.perf_counter() - begin


def noise(tensor: TensorInfo, rows: int) -> npt.NDArray[Any]:
    """An input of so many rows, the same each time; of labels the class that is always there."""
    rng = np.random.default_rng(0)
    shape = tensor.sizes(rows)
    if tensor.dtype == "uint8":
        return rng.integers(0, 256, shape, np.uint8)
    if tensor.dtype == "int64":
        return np.zeros(shape, np.int64)
    return rng.standard_normal(shape, np.float32)


def cache_folder() -> Path:
    """Where this user's tables are, unless a setting says otherwise."""
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "biject" / "costs"


def _key(engine: Engine) -> str:
    """Changes with all that a table depends on: host, device, threads, library, the bundle."""
    parts = [
        *(_VERSION, platform.node(), platform.machine(), _processor(), usable_cores()),
        *(engine.device, engine.workers, list(engine.buckets), ort.__version__),
        *_hashes(engine.bundle),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _hashes(bundle: Bundle) -> list[str]:
    manifest = bundle.manifest
    graphs = [f"{name} {graph.sha256}" for name, graph in sorted(manifest.graphs.items())]
    return [*graphs, manifest.weights.sha256 if manifest.weights is not None else ""]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line for line in file if line.startswith("model name")), "").strip()
    except OSError:
        return platform.processor()


def _kept(file: Path, engine: Engine) -> Costs | None:
    """The table in `file`; None where there is none, or none that can be used."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        points = points_of(document)
        if points.keys() != engine.bundle.manifest.graphs.keys():
            raise ValueError(f"it is about {', '.join(points)}")
        return Costs(points=points, buckets=engine.buckets)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s cannot be used (%s): measuring again", file, error)
        return None


def _keep(file: Path, costs: Costs, engine: Engine) -> None:
    """Write the table whole or not at all; without a cache the next start measures again.

    What else it says is for people, and for `biject bench plan`.
    """
    manifest = engine.bundle.manifest
    of = {
        "model": f"{manifest.name}@{manifest.version}",
        "device": engine.device,
        "workers": engine.workers,
    }
    text = json.dumps({**of, "points": costs.points}, indent=1)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=file.parent, suffix=".tmp", delete=False, encoding="utf-8"
        ) as temporary:
            temporary.write(text)
        os.replace(temporary.name, file)
    except OSError as error:
        log.info("no table is kept: %s", error)
