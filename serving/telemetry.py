"""What is known about the request at hand, and the figures that Prometheus collects.

The outer middleware puts a `Trace` into a context variable; whatever answers the request, BentoML's
own routes included, notes there what it learns: model, verb, times, the error behind an answer.
"""

import os
import random
import re
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, Protocol

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from serving.errors import ServingError

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class Held(Protocol):
    """Something that stays as it is while it has users."""

    users: int


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
    error: ServingError | None = None  # the true reason, where a framework words the answer
    held: Held | None = None  # the model, which is not let go before the answer is out

    def hold(self, held: Held) -> None:
        """Be one of its users until `release`."""
        self.release()
        held.users += 1
        self.held = held

    def release(self) -> None:
        """Be no longer a user of what is held."""
        if self.held is not None:
            self.held.users -= 1
            self.held = None


_current: ContextVar[Trace] = ContextVar("biject_trace")


def begin(trace: Trace) -> None:
    """Make `trace` that of the request which this task and those it starts are about."""
    _current.set(trace)


def current() -> Trace:
    """The request at hand.  Raises LookupError outside of one."""
    return _current.get()


def request_id(given: str | None) -> str:
    """The caller's id where it is a decent one, else a new one."""
    return given if given and _ID.fullmatch(given) else f"{random.getrandbits(64):016x}"


def server_timing(trace: Trace) -> str:
    """The value of Server-Timing; queue and compute in milliseconds."""
    return f"queue;dur={trace.queue_ms:.2f}, compute;dur={trace.compute_ms:.2f}"


class Metrics:
    """Figures with few labels: never a path, never a name that is not a model's.

    With PROMETHEUS_MULTIPROC_DIR set, as BentoML sets it for its workers, `render` adds up those
    of all workers.
    """

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._answers: dict[tuple[str, str, int], tuple[Counter, Histogram | None]] = {}
        self.requests = Counter(
            "biject_requests", "Answers.", ["model", "verb", "status"], registry=registry
        )
        self.latency = Histogram(
            "biject_request_seconds",
            "From the first byte's arrival to the answer's start.",
            ["model", "verb"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30),
            registry=registry,
        )
        self.batch = Histogram(
            "biject_batch_rows",
            "Rows of each batch that an engine computed.",
            ["model", "graph"],
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=registry,
        )
        self.compute = Counter(
            "biject_compute_seconds",
            "Time that engine threads spent computing.",
            ["model", "graph"],
            registry=registry,
        )
        self.queued = Gauge(
            "biject_queue_rows",
            "Rows that wait for an engine.",
            ["model"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.loaded = Gauge(
            "biject_model_ready",
            "Workers that have the model ready, by the device it runs on.",
            ["model", "version", "device"],
            registry=registry,
            multiprocess_mode="livesum",
        )

    def answered(self, trace: Trace, status: int) -> None:
        """Count an answer that is about to start."""
        key = (trace.model, trace.verb, status)
        if key not in self._answers:  # looking a label up takes longer than counting
            self._answers[key] = (
                self.requests.labels(trace.model, trace.verb, str(status)),
                self.latency.labels(trace.model, trace.verb) if trace.verb else None,
            )
        requests, latency = self._answers[key]
        requests.inc()
        if latency is not None:
            latency.observe(time.monotonic() - trace.started)

    def computed(self, model: str, graph: str, rows: int, seconds: float) -> None:
        """Count a batch."""
        self.batch.labels(model, graph).observe(rows)
        self.compute.labels(model, graph).inc(seconds)

    def render(self) -> bytes:
        """All figures in Prometheus' text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
