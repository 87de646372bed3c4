"""What is known about the request at hand, and the figures that Prometheus collects.

The outer middleware puts a `Trace` into a context variable; whatever answers the request, BentoML's
own routes included, notes there what it learns: model, verb, times, the error behind an answer.
"""

import collections
import functools
import math
import os
import random
import re
import threading
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import numpy.typing as npt
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from serving.answer_counts import TOGETHER, AnswerCounts, Answered
from serving.batching import Batcher
from serving.drift import Drift
from serving.errors import RateExceeded, ServingError
from serving.manifest import Manifest
from serving.scoring import Verdict
from serving.security import Caller

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
Array = npt.NDArray[Any]
RATE: Final = "rate"
_SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"  # set where workers add up figures in files
_REASONS: Final[Mapping[int, str]] = MappingProxyType(
    {
        401: "no_key",
        403: "wrong_key",
        408: "slow_body",
        413: "too_large",
        429: "queue",
        503: "not_ready",
        504: "deadline",
    }
)
_CODING: Final = ("encode", "reconstruct")  # graphs whose first output is codes
_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128)
_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class Held(Protocol):
    """Something that stays as it is while it has users."""

    users: int
    pausing: int


@dataclass(kw_only=True, slots=True)
class Trace:
    """One request, from the outer middleware's first look at it until its answer."""

    request_id: str
    deadline: float  # time.monotonic()
    started: float = field(default_factory=time.monotonic)
    model: str = ""  # labels: only names that exist, or nothing
    verb: str = ""
    queue_ms: float = 0.0
    compute_ms: float = 0.0
    answered: float = 0.0  # time.monotonic() at the answer's start
    caller: Caller | None = None  # whose key it came with
    error: ServingError | None = None  # the true reason, where a framework words the answer
    held: Held | None = None  # the model, which is not let go before its last graph has run
    paused: bool = False  # but may be, where others want its room

    def hold(self, held: Held) -> None:
        """Be one of its users until `release`."""
        self.release()
        held.users += 1
        self.held = held

    def pause(self, paused: bool) -> None:
        """Whether what is held is not needed at the moment."""
        if self.held is not None:
            self.held.pausing += paused - self.paused
            self.paused = paused

    def release(self) -> None:
        """Be no longer a user of what is held."""
        if self.held is not None:
            self.pause(False)
            self.held.users -= 1
            self.held = None


_current: ContextVar[Trace] = ContextVar("biject_trace")


def begin(trace: Trace) -> None:
    """Make `trace` that of the request which this task and those it starts are about."""
    _current.set(trace)


def current() -> Trace:
    """The request at hand.  Raises LookupError outside of one."""
    return _current.get()


def at_hand() -> Trace | None:
    """The request at hand, if there is one."""
    return _current.get(None)


def request_id(given: str | None) -> str:
    """The caller's id where it is a decent one, else a new one."""
    return given if given and _ID.fullmatch(given) else f"{random.getrandbits(64):016x}"


def server_timing(trace: Trace) -> str:
    """The value of Server-Timing; queue and compute in milliseconds."""
    return f"queue;dur={trace.queue_ms:.2f}, compute;dur={trace.compute_ms:.2f}"


class _Batches(NamedTuple):
    rows: Histogram
    padding: Counter
    seconds: Counter


class _Watched(NamedTuple):
    manifest: Manifest  # a newer copy of the same version has another
    drift: Drift


class Metrics:
    """Figures with few labels: never a path, never a name that is not a model's or a key's.

    With PROMETHEUS_MULTIPROC_DIR set, as BentoML sets it for its workers, `render` adds up those
    of all workers.  All have a label: one without would be kept where this process started, and
    not where the workers meet.
    """

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._counts = AnswerCounts(registry, together=1 if _SHARED in os.environ else TOGETHER)
        self._batches: dict[tuple[str, str], _Batches] = {}
        self._drifts: dict[tuple[str, int], _Watched] = {}  # by name and version
        self._noting = threading.Lock()
        self._lined_up: set[str] = set()  # models of the last `gauge`
        self._restarted: WeakKeyDictionary[Batcher, int] = WeakKeyDictionary()
        counter = functools.partial(Counter, registry=registry)
        histogram = functools.partial(Histogram, registry=registry)
        gauge = functools.partial(Gauge, registry=registry, multiprocess_mode="livesum")
        recent = functools.partial(gauge, multiprocess_mode="livemostrecent")
        by_graph = ["model", "graph"]
        self.batch = histogram(
            "biject_batch_rows", "Rows of each batch computed.", by_graph, buckets=_ROWS
        )
        self.padding = counter("biject_padding_rows", "Rows computed to fill batches up.", by_graph)
        self.compute = counter(
            "biject_compute_seconds", "Time that engine threads spent computing.", by_graph
        )
        self.restarts = counter(
            "biject_engine_restarts", "Engine threads that died and were replaced.", ["model"]
        )
        self.queued = gauge("biject_queue_rows", "Rows that wait for an engine.", ["model"])
        self.open = gauge("biject_open_requests", "Requests being answered.", ["worker"])
        self.loaded = gauge(
            "biject_model_ready",
            "Workers that have the model ready, by the device it runs on.",
            ["model", "version", "device"],
        )
        self.scored = counter(
            "biject_scored_images", "Images compared with the calibration's.", ["model"]
        )
        self.p_values = counter(
            "biject_p_values", "Sum of their p-values: 0.5 each, on average.", ["model"]
        )
        self.flagged = counter(
            "biject_flagged_images", "Images flagged at the fpr of their requests.", ["model"]
        )
        self.shift = recent(
            "biject_latent_shift",
            "How far the mean of the last thousand codes is from the prior's, in its deviations.",
            ["model", "version"],
        )
        self.spread = recent(
            "biject_latent_spread",
            "Deviation of the last thousand codes, over the prior's.",
            ["model", "version"],
        )

    def answered(self, trace: Trace, status: int) -> None:
        """Count an answer that is about to end; it started at `trace.answered`, if it did."""
        reason, caller = _REASONS.get(status, ""), trace.caller
        if reason and isinstance(trace.error, RateExceeded):
            reason = RATE
        self._counts.add(
            Answered(
                trace.model,
                trace.verb,
                status,
                (trace.answered or time.monotonic()) - trace.started,
                trace.queue_ms / 1e3 if trace.compute_ms else None,
                reason,
                caller.name if caller is not None else "",
                caller.images if caller is not None else 0,
            )
        )

    def computed(
        self,
        manifest: Manifest,
        graph: str,
        batch: Sequence[Array],
        *,
        padding: int,
        seconds: float,
    ) -> None:
        """Count a batch: its outputs, and how many rows were added to fill it up."""
        key = (manifest.name, graph)
        if key not in self._batches:
            self._batches[key] = _Batches(
                rows=self.batch.labels(*key),
                padding=self.padding.labels(*key),
                seconds=self.compute.labels(*key),
            )
        batches = self._batches[key]
        batches.rows.observe(len(batch[0]))
        batches.seconds.inc(seconds)
        if padding:
            batches.padding.inc(padding)
        if graph in _CODING:
            place = manifest.name, manifest.version
            watched = self._drifts.get(place)
            if watched is None or watched.manifest is not manifest:
                watched = self._drifts[place] = _Watched(manifest, Drift(manifest.latent.prior))
            watched.drift.watch(batch[0])

    def judged(self, model: str, verdict: Verdict, failed: Container[int] = ()) -> None:
        """Count the images that were compared with the calibration's; those that `failed` were not.

        Any thread may call.
        """
        known = [
            (p, bool(flag))
            for i, (p, flag) in enumerate(zip(verdict.p_values, verdict.anomalous, strict=True))
            if p is not None and i not in failed
        ]
        if known:
            self.scored.labels(model).inc(len(known))
            self.p_values.labels(model).inc(sum(p for p, _ in known))
            self.flagged.labels(model).inc(sum(flag for _, flag in known))

    def gauge(
        self, models: Iterable[tuple[str, int, Batcher]], *, worker: int, open_requests: int
    ) -> None:
        """Note how things stand now, with these models loaded.  Any thread may call."""
        self._counts.settle()
        self.open.labels(str(worker)).set(open_requests)
        with self._noting:
            self._note(models)

    def _note(self, models: Iterable[tuple[str, int, Batcher]]) -> None:
        rows: collections.Counter[str] = collections.Counter()  # of all versions of a name
        loaded = set()
        for name, version, batcher in models:
            loaded.add((name, version))
            rows[name] += batcher.queued
            restarts = batcher.restarts
            self.restarts.labels(name).inc(restarts - self._restarted.get(batcher, 0))
            self._restarted[batcher] = restarts
        for name in self._lined_up | rows.keys():  # none wait for a model that was unloaded
            self.queued.labels(name).set(rows[name])
        self._lined_up = set(rows)
        for place, watched in list(self._drifts.items()):
            figures = watched.drift.figures()
            if place not in loaded:
                del self._drifts[place]
                # No more to be said: what workers share in files cannot be taken out of them.
                figures = math.nan, math.nan
            if figures is not None:
                name, version = place
                self.shift.labels(name, str(version)).set(figures[0])
                self.spread.labels(name, str(version)).set(figures[1])

    def render(self) -> bytes:
        """All figures in Prometheus' text format."""
        self._counts.settle()
        if _SHARED not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
