"""What became of the requests that were sent, added up."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from serving.load.schedule import percentiles
from serving.load.wire import Failure

POINTS: Final = (50, 90, 99, 100)
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request; times in seconds of one clock."""

    due: float  # when it was to be sent: latency counts from here
    sent: float
    ended: float
    status: int | None  # None: no answer came
    failure: Failure | None = None
    retry_after: float | None = None

    @property
    def latency(self) -> float:
        """Seconds from when it was due to its last byte; what waiting to be sent took included."""
        return self.ended - self.due


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds, of the answers of one class of status."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """A measurement.  Counts and latencies are of the requests due within the window, all waited
    for; rates are of the answers that arrived within it."""

    seconds: float  # length of the window
    sent: int
    unsent: int  # due, but as many were in flight as may be
    statuses: dict[int, int]
    failures: dict[str, int]
    throughput: float  # answers per second, of any status
    goodput: float  # 200s per second
    images_per_second: float  # in those 200s
    latency: dict[str, Latency]  # by class: "2xx", "4xx", "5xx"
    late_ms: float  # how long after it was due a request was sent, at worst
    retry_after: tuple[float, float] | None  # least and most that was asked for, seconds
    refusal: str = ""  # what the first answer that was no 200 said

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "seconds": round(self.seconds, 3),
            "sent": self.sent,
            "unsent": self.unsent,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "failures": self.failures,
            "throughput": round(self.throughput, 2),
            "goodput": round(self.goodput, 2),
            "images_per_second": round(self.images_per_second, 1),
            "latency_ms": {
                name: {
                    "count": one.count,
                    **{key: round(getattr(one, key), 3) for key in ("p50", "p90", "p99", "max")},
                }
                for name, one in sorted(self.latency.items())
            },
            "late_ms": round(self.late_ms, 3),
            "retry_after_s": self.retry_after,
            **({"refusal": self.refusal} if self.refusal else {}),
        }


def figures_of(
    outcomes: Sequence[Outcome],
    *,
    begin: float,
    end: float,
    unsent: int = 0,
    images: int = 1,
    refusal: str = "",
) -> Figures:
    """The figures of the window [begin, end).

    Args:
        outcomes: Of requests due at any time, before the window too.
        begin: Seconds, by the outcomes' clock.
        end: Likewise.
        unsent: Requests due within the window that were never sent.
        images: In each request.
        refusal: What the first answer that was no 200 said.
    """
    due = [one for one in outcomes if begin <= one.due < end]
    ended = [one for one in outcomes if begin <= one.ended < end and one.status is not None]
    seconds = end - begin
    good = sum(one.status == _OK for one in ended) / seconds
    waits = [one.retry_after for one in due if one.retry_after is not None]
    return Figures(
        seconds=seconds,
        sent=len(due),
        unsent=unsent,
        statuses=dict(Counter(one.status for one in due if one.status is not None)),
        failures=dict(Counter(one.failure for one in due if one.failure is not None)),
        throughput=len(ended) / seconds,
        goodput=good,
        images_per_second=good * images,
        latency=_latencies(due),
        late_ms=max((one.sent - one.due for one in due), default=0.0) * 1e3,
        retry_after=(min(waits), max(waits)) if waits else None,
        refusal=refusal,
    )


def _latencies(outcomes: Iterable[Outcome]) -> dict[str, Latency]:
    by_class: dict[str, list[float]] = {}
    for one in outcomes:
        if one.status is not None:
            by_class.setdefault(f"{one.status // 100}xx", []).append(one.latency * 1e3)
    return {
        name: Latency(len(values), *percentiles(values, POINTS))
        for name, values in by_class.items()
    }
