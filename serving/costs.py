"""What batches cost on this machine, and what follows for how many rows to take at once.

Pure arithmetic over a measured table; `serving.tuning` measures it.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

MOST_SECONDS: Final = 0.05  # of one batch: whoever comes next waits for at most two of them
HANDLING: Final = 2e-4  # seconds that a batch costs outside of its graph: taken, merged, told
_NEARLY: Final = 1.05  # a batch within 5 % of the best cost per row is as good, and sooner done


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """Measured seconds of batches, by graph and number of rows.

    Attributes:
        points: graph -> {rows: seconds of one batch}, at least one point for each graph.
        buckets: The sizes that batches are padded to, ascending; empty: any size runs as it is.
            Each is a point of every graph.
    """

    points: Mapping[str, Mapping[int, float]]
    buckets: Sequence[int] = ()
    # By graph, worked out once: every request asks.
    _sizes: dict[str, list[int]] = field(default_factory=dict, init=False, repr=False)
    _most: dict[str, int] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for graph, points in self.points.items():
            if not points or min(points) < 1 or not all(0 < s < inf for s in points.values()):
                raise ValueError(f"{graph}: rows and seconds must be positive, got {dict(points)}")
            if missing := set(self.buckets) - set(points):
                raise ValueError(f"{graph}: bucket {min(missing)} was not measured")
            self._sizes[graph] = sorted(points)
            self._most[graph] = _most(points)

    def seconds(self, graph: str, rows: int) -> float:
        """How long a batch of `rows` takes: linear between points, in proportion beyond them."""
        points = self.points[graph]
        if self.buckets:
            rows = padded(self.buckets, rows)
        sizes = self._sizes[graph]
        if rows >= sizes[-1]:
            return points[sizes[-1]] * rows / sizes[-1]
        above = bisect_left(sizes, rows)
        if above == 0 or sizes[above] == rows:
            return points[sizes[above]]
        low, high = sizes[above - 1], sizes[above]
        share = (rows - low) / (high - low)
        return points[low] * (1 - share) + points[high] * share

    def most(self, graph: str) -> int:
        """The rows of the best batch: the fewest that cost per row nearly what the best do.

        No batch that takes longer than MOST_SECONDS, unless a smaller one does, too.
        """
        return self._most[graph]

    def take(self, graph: str, waiting: int) -> int:
        """How many of the rows that wait are to be the next batch.

        Without buckets all, up to `most`.  With them a number between two buckets is padded to
        the upper one, or split at the lower, whichever costs less in all.
        """
        rows = min(waiting, self.most(graph))
        lower = [bucket for bucket in self.buckets if bucket < rows]
        if not lower or rows in self.buckets:
            return rows
        split = self.seconds(graph, lower[-1]) + self.seconds(graph, rows - lower[-1])
        return lower[-1] if split + HANDLING < self.seconds(graph, rows) else rows


def _most(points: Mapping[int, float]) -> int:
    quick = {n: s for n, s in points.items() if s <= MOST_SECONDS} or {
        min(points): points[min(points)]
    }
    per_row = {rows: (seconds + HANDLING) / rows for rows, seconds in quick.items()}
    best = min(per_row.values())
    return min(rows for rows, seconds in per_row.items() if seconds <= best * _NEARLY)


def padded(buckets: Sequence[int], rows: int) -> int:
    """The smallest bucket that holds `rows`; more than all hold stay as many as they are."""
    place = bisect_left(buckets, rows)
    return buckets[place] if place < len(buckets) else rows


def points_of(document: Mapping[str, Any]) -> dict[str, dict[int, float]]:
    """`Costs.points` as a kept table has them, where the keys of JSON are text."""
    return {
        str(graph): {int(rows): float(seconds) for rows, seconds in table.items()}
        for graph, table in document["points"].items()
    }
