"""What the records of serve_http say: medians, ratios, and which targets hold."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from benchmarks.records import Record
from benchmarks.servers import DOUBLE
from serving.load.words import table

OURS: Final = "biject"
BARE: Final = "biject --bare"
LITSERVE: Final = "LitServe"
BATCHABLE: Final = "BentoML batchable"
PEERS: Final = (LITSERVE, BATCHABLE, "MLServer", "Ray Serve", "FastAPI def", "FastAPI async")
WORDS: Final = {
    "livez": "GET /livez: no work at all",
    "jpeg": "one 32x32 JPEG to latents",
    "arrays": "64 raw images in a request to latents",
    "score": "64 raw images in a request to scores",
    "png": "one 32x32 JPEG to its reconstruction as PNG",
}
RATIOS: Final = {
    "good_per_second": "ratios of one JPEG's answers per second",
    "images_per_cpu_second": "ratios of the same per second of processor time",
}
HEADS: Final = (
    "server", "connections", "200s/s", "images/s", "p50 ms", "p99 ms", "images/CPU-s", "errors",
)  # fmt: skip


class Target(NamedTuple):
    """A ratio, and what it ought to be at least."""

    words: str
    ratio: float | None  # None: not measured
    least: float

    @property
    def verdict(self) -> str:
        if self.ratio is None:
            return "not measured"
        return "holds" if self.ratio >= self.least else "missed"


class Medians:
    """Medians over the rounds."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records

    def of(self, server: str, workload: str, connections: int, key: str) -> float | None:
        """Of one server's figure; None where it was not measured."""
        return _median(
            record.get(key)
            for record in self._records
            if (record.get("server"), record.get("workload"), record.get("connections"))
            == (server, workload, connections)
        )

    def better(self, server: str, workload: str, connections: int, key: str) -> float | None:
        """Of a server with one process or with two, whichever gives more."""
        found = [self.of(name, workload, connections, key) for name in (server, server + DOUBLE)]
        return max((value for value in found if value is not None), default=None)

    def raw(self, graph: str, key: str = "images_per_second") -> float | None:
        """Of the raw session in the setting that gives most images per second."""
        settings = {r["setting"] for r in self._records if r.get("graph") == graph}
        best = max(settings, key=lambda setting: self._of_setting(graph, setting), default=None)
        return None if best is None else self._of_setting(graph, best, key)

    def cells(self, workload: str) -> list[tuple[str, int]]:
        """(server, connections) that were measured, in order of connections."""
        found = {
            (record["server"], record["connections"])
            for record in self._records
            if record.get("workload") == workload
        }
        order = (OURS, BARE, *PEERS)

        def place(cell: tuple[str, int]) -> tuple[int, int, bool]:
            server, count = cell
            return count, order.index(server.removesuffix(DOUBLE)), server.endswith(DOUBLE)

        return sorted(found, key=place)

    def errors(self, server: str, workload: str, connections: int) -> int:
        """Of all rounds."""
        return sum(
            sum(record["errors"].values())
            for record in self._records
            if (record.get("server"), record.get("workload"), record.get("connections"))
            == (server, workload, connections)
        )

    def _of_setting(self, graph: str, setting: str, key: str = "images_per_second") -> float:
        values = (
            record[key]
            for record in self._records
            if record.get("graph") == graph and record["setting"] == setting
        )
        return _median(values) or 0.0


def lines(medians: Medians, workload: str) -> list[tuple[str, ...]]:
    """A workload's table, the headings first."""
    found: list[tuple[str, ...]] = [HEADS]
    for server, count in medians.cells(workload):
        figures = [medians.of(server, workload, count, key) for key in
                   ("good_per_second", "images_per_second", "p50", "p99", "images_per_cpu_second")
                   ]  # fmt: skip
        words = [_number(value, places) for value, places in zip(figures, (0, 0, 1, 1, 0),
                                                                 strict=True)]  # fmt: skip
        found.append((server, str(count), *words, f"{medians.errors(server, workload, count):,}"))
    return found


def ratios(medians: Medians, key: str = "good_per_second") -> list[tuple[str, ...]]:
    """Ours over others' on one JPEG, by number of connections, the headings first.

    Of each server the better: with one process that computes, or with two.
    """
    others = ("LitServe", "batchable", "best peer")
    compared = [f"{ours} / {other}" for ours in ("biject", "bare") for other in others]
    heads = ("connections", *compared, "biject / bare")
    found: list[tuple[str, ...]] = [heads]
    for count in sorted({count for _, count in medians.cells("jpeg")}):

        def at(server: str, count: int = count) -> float | None:
            return medians.better(server, "jpeg", count, key)

        best = _best(at)
        pairs = [(ours, other) for ours in (at(OURS), at(BARE))
                 for other in (at(LITSERVE), at(BATCHABLE), best)]  # fmt: skip
        values = [_ratio(*pair) for pair in [*pairs, (at(OURS), at(BARE))]]
        found.append((str(count), *(_number(value, 2) for value in values)))
    return found


def targets(medians: Medians) -> list[Target]:
    """What was promised, against what was measured."""

    def jpeg(server: str) -> float | None:
        return medians.better(server, "jpeg", 64, "good_per_second")

    def score(server: str, key: str) -> float | None:
        return _ratio(medians.better(server, "score", 8, key), medians.raw("score", key))

    best = _best(jpeg)
    at = "one JPEG, 64 connections: "
    found = [
        Target(f"{at}biject / LitServe", _ratio(jpeg(OURS), jpeg(LITSERVE)), 3),
        Target(f"{at}biject / BentoML batchable", _ratio(jpeg(OURS), jpeg(BATCHABLE)), 3),
        Target(f"{at}bare / LitServe", _ratio(jpeg(BARE), jpeg(LITSERVE)), 4),
        Target(f"{at}bare / BentoML batchable", _ratio(jpeg(BARE), jpeg(BATCHABLE)), 4),
        Target(f"{at}biject / bare", _ratio(jpeg(OURS), jpeg(BARE)), 0.75),
        Target(f"{at}biject / best peer", _ratio(jpeg(OURS), best), 1.5),
        Target(f"{at}bare / best peer", _ratio(jpeg(BARE), best), 1.5),
    ]
    for server in (OURS, BARE):
        words = f"64 raw images to score: {server} / raw session"
        found += [
            Target(f"{words}, images/s", score(server, "images_per_second"), 0.85),
            Target(f"{words}, images/CPU-s", score(server, "images_per_cpu_second"), 0.90),
        ]
    return found


def limits(medians: Medians) -> list[tuple[str, ...]]:
    """The raw session's table, the headings first."""
    return [
        ("raw session of 64", "images/s", "images/CPU-s"),
        *(
            (
                graph,
                _number(medians.raw(graph), 0),
                _number(medians.raw(graph, "images_per_cpu_second"), 0),
            )
            for graph in ("encode", "score")
        ),
    ]


def target_lines(found: Sequence[Target]) -> list[tuple[str, ...]]:
    """The targets' table, the headings first."""
    return [
        ("target", "measured", "wanted", "verdict"),
        *((one.words, _number(one.ratio, 2), f">= {one.least:g}", one.verdict) for one in found),
    ]


def printed(records: Sequence[Record]) -> str:
    """All tables, as text."""
    medians = Medians(records)
    parts = [f"{WORDS[name]}\n{table(lines(medians, name))}" for name in WORDS
             if medians.cells(name)]  # fmt: skip
    parts.append(table(limits(medians)))
    parts += [f"{words}\n{table(ratios(medians, key))}" for key, words in RATIOS.items()]
    parts.append(table(target_lines(targets(medians))))
    return "\n\n".join(parts)


def _best(at: Callable[[str], float | None]) -> float | None:
    return max((value for server in PEERS if (value := at(server)) is not None), default=None)


def _median(values: Iterable[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a is not None and b else None


def _number(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:,.{places}f}"
