"""What each graph of a model has done in this process: requests, rows, batches, time."""

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

from serving.queueing import Answer


@dataclass(slots=True)
class Spent:
    """How often, and how long altogether."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds


@dataclass(kw_only=True, slots=True)
class Figures:
    """One graph's, since its model was loaded."""

    success: Spent = field(default_factory=Spent)  # requests, from queue to answer
    fail: Spent = field(default_factory=Spent)
    queue: Spent = field(default_factory=Spent)  # of those that succeeded
    compute: Spent = field(default_factory=Spent)
    batches: dict[int, Spent] = field(default_factory=dict)  # by how many rows they had
    last: float = 0.0  # end of the last batch, Unix seconds; 0: there was none


class Tally:
    """The figures of one model's graphs; whoever runs or asks for one notes it here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._graphs: dict[str, Figures] = defaultdict(Figures)

    def of(self, graph: str) -> Figures:
        """The graph's figures, which go on changing."""
        with self._lock:
            return self._graphs[graph]

    def batches(self, graph: str) -> list[tuple[int, int, float]]:
        """Its batches so far, as (rows, how many, seconds), ascending."""
        with self._lock:
            found = self._graphs[graph].batches.items()
            return sorted((rows, spent.count, spent.seconds) for rows, spent in found)

    def computed(self, graph: str, rows: int, seconds: float) -> None:
        """Note a batch that succeeded."""
        with self._lock:
            figures = self._graphs[graph]
            figures.batches.setdefault(rows, Spent()).add(seconds)
            figures.last = time.time()

    def answered(self, graph: str, answer: Answer) -> None:
        """Note a request that succeeded."""
        with self._lock:
            figures = self._graphs[graph]
            figures.success.add((answer.queue_ms + answer.compute_ms) / 1e3)
            figures.queue.add(answer.queue_ms / 1e3)
            figures.compute.add(answer.compute_ms / 1e3)

    def failed(self, graph: str, seconds: float) -> None:
        """Note a request that failed after so long."""
        with self._lock:
            self._graphs[graph].fail.add(seconds)
