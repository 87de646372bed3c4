"""The engine against its runtime: images a second of a bare session at its best, and of ours.

    python -m benchmarks.engine                      # the model that ships; again: what is missing
    python -m benchmarks.engine --only score --batches 1,64 --seconds 2
    python -m benchmarks.engine --table              # from what was recorded

The session's best is searched among one caller on one thread, on all cores (spinning or not), and
one caller per core.  What is measured is in serving/throughput.py, as for `biject bench engine`.
"""

import sys
from collections.abc import Sequence

import click

from benchmarks.processes import Reading, wait_for_quiet
from benchmarks.records import QUIET, Record, Records, chosen
from benchmarks.servers import BUNDLE
from serving.load.words import Numbers, table
from serving.throughput import BATCHES, GRAPHS, measured, opened

HEADS = ("graph", "batch", "raw session/s", "engine/s", "batcher/s", "engine / raw",
         "batcher / raw", "per CPU-s / raw", "raw was best at")  # fmt: skip


@click.command()
@click.option("--only", metavar="GRAPH,...", default=",".join(GRAPHS), show_default=True)
@click.option(
    "--batches", type=Numbers(int), default=",".join(map(str, BATCHES)), show_default=True
)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=0.5, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--run", metavar="NAME", help="What the records go by.  [default: the commit]")
@QUIET
@click.option("--table", "only_table", is_flag=True, help="Measure nothing.")
def main(
    only: str,
    batches: list[float],
    seconds: float,
    rounds: int,
    run: str | None,
    quiet: float,
    only_table: bool,
) -> None:
    """Compare the engine with a bare session; results go to benchmarks/results/engine.jsonl."""
    how = {"seconds": seconds, "rounds": rounds}
    records = Records("engine", run, quiet=quiet, how=how)
    if not only_table:
        loaded = opened(BUNDLE, "cpu")
        for graph in chosen(only, GRAPHS):
            missing = [int(n) for n in batches if not records.has(graph=graph, batch=int(n))]
            wait_for_quiet(quiet)
            reading = Reading.now()
            for row in measured(
                loaded, graphs=[graph], batches=missing, seconds=seconds, rounds=rounds
            ):
                found = row.to_dict()
                records.append(others=reading.others(), **found)
                wait_for_quiet(quiet)
                reading = Reading.now()
                print(f"{graph} of {row.batch}: {found['batcher_to_raw']:.2f}", file=sys.stderr)
    print(records.told(printed, only_table=only_table, last=run is None))


def lines(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """The table of these records, the headings first."""
    ordered = sorted(records, key=lambda one: (GRAPHS.index(one["graph"]), one["batch"]))
    return [HEADS, *(_line(record) for record in ordered)]


def printed(records: Sequence[Record]) -> str:
    """The table, as text."""
    return table(lines(records))


def _line(record: Record) -> tuple[str, ...]:
    return (
        record["graph"],
        str(record["batch"]),
        *(f"{record[key]:,.0f}" for key in ("raw_images", "engine_images", "batcher_images")),
        *(f"{record[key]:.2f}" for key in ("engine_to_raw", "batcher_to_raw")),
        f"{record['batcher_per_cpu_second'] / record['raw_per_cpu_second']:.2f}",
        record["raw_setting"],
    )


if __name__ == "__main__":
    main()
