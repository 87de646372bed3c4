"""Figures of answers, added up some hundred at a time: one by one they would cost requests more.

What has not been added up yet is, before anybody looks.  Where figures outlive the process, in the
files that workers share, each is added at once: a worker may be killed at any moment.
"""

import bisect
import collections
import threading
from collections.abc import Sequence
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30)
TOGETHER: Final = 256


class Answered(NamedTuple):
    """One answer."""

    model: str  # empty where it is about none
    verb: str
    status: int
    seconds: float
    queued: float | None = None  # seconds; None: nothing was computed
    reason: str = ""  # why it is a refusal, if it is one
    key: str = ""  # the name of the key that was shown
    images: int = 0  # that were computed for it


class AnswerCounts:
    """The figures themselves.  `add` is for one thread, `settle` for any.

    Args:
        registry: Where they are to be found.
        together: How many answers are added up at once.
    """

    def __init__(self, registry: CollectorRegistry, *, together: int = TOGETHER) -> None:
        self._together = together
        by_verb = ["model", "verb"]
        self._requests = Counter(
            "biject_requests", "Answers.", [*by_verb, "status"], registry=registry
        )
        self._latency = Histogram(
            "biject_request_seconds",
            "From the first byte's arrival to the answer's start.",
            by_verb,
            buckets=SECONDS,
            registry=registry,
        )
        self._queue = Histogram(
            "biject_queue_seconds",
            "Time that the rows of a request waited for an engine, of requests that computed.",
            by_verb,
            buckets=SECONDS,
            registry=registry,
        )
        self._refusals = Counter(
            "biject_rejections", "Requests refused, by reason.", ["reason"], registry=registry
        )
        self._by_key = Counter(
            "biject_key_requests", "Answers to those who showed a key.", ["key"], registry=registry
        )
        self._images = Counter(
            "biject_key_images", "Rows computed for them.", ["key"], registry=registry
        )
        self._waiting: collections.deque[Answered] = collections.deque()
        self._settling = threading.Lock()

    def add(self, answer: Answered) -> None:
        """Count it, by and by."""
        self._waiting.append(answer)
        if len(self._waiting) >= self._together:
            self.settle()

    def settle(self) -> None:
        """Add up what waits."""
        with self._settling:
            answers = [self._waiting.popleft() for _ in range(len(self._waiting))]
            alike = collections.defaultdict(list)
            for one in answers:
                alike[one.model, one.verb, one.status, one.reason, one.key].append(one)
            for group in alike.values():
                self._count(group)

    def _count(self, group: Sequence[Answered]) -> None:
        """Those that differ in no label."""
        first = group[0]
        self._requests.labels(first.model, first.verb, str(first.status)).inc(len(group))
        if first.verb:
            labels = first.model, first.verb
            _observe(self._latency.labels(*labels), [one.seconds for one in group])
            if queued := [one.queued for one in group if one.queued is not None]:
                _observe(self._queue.labels(*labels), queued)
        if first.reason:
            self._refusals.labels(first.reason).inc(len(group))
        if first.key:
            self._by_key.labels(first.key).inc(len(group))
            self._images.labels(first.key).inc(sum(one.images for one in group))


def _observe(histogram: Histogram, values: Sequence[float]) -> None:
    """As `histogram.observe` of each would, at a fraction of its cost."""
    found = collections.Counter(bisect.bisect_left(histogram._upper_bounds, v) for v in values)
    histogram._sum.inc(sum(values))
    for bucket, number in found.items():
        histogram._buckets[bucket].inc(number)
