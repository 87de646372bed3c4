"""What a server does with more than it can: offered 0.5, 1, 2 and 4 times its capacity.

    python -m benchmarks.overload                    # all of it; again: what is missing
    python -m benchmarks.overload --only "biject --bare" --seconds 5 --factors 1,4
    python -m benchmarks.overload --table            # from what was recorded

Capacity is what a closed loop gets.  Then requests come when they are due, whatever has become of
the earlier ones: 64 raw images to score, so that the network is the limit and not the generator.
"""

import asyncio
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import click
import uvloop

from benchmarks.processes import Reading, spent, wait_for_quiet
from benchmarks.records import QUIET, Record, Records, chosen
from benchmarks.servers import BUNDLE, SERVERS, Server
from serving.bundle import read
from serving.load.bodies import synthetic
from serving.load.figures import Figures
from serving.load.loops import closed_loop, open_loop
from serving.load.wire import Target
from serving.load.words import Numbers, table

BATCH: Final = 64
CALLERS: Final = 8
_IN_FLIGHT: Final = 2_048
OURS: Final = ("biject", "biject --bare")
HEADS = ("server", "offered", "requests/s", "200s/s", "200s / best", "200", "429", "504", "other",
         "not sent", "p50 ms", "p99 ms", "deadline ms", "late ms")  # fmt: skip


class Promise(NamedTuple):
    """What ought to hold under overload, and whether it did."""

    words: str
    measured: str
    holds: bool


@click.command()
@click.option("--only", metavar="NAME,...", default=",".join(OURS), show_default=True)
@click.option("--factors", type=Numbers(float), default="0.5,1,2,4", show_default=True)
@click.option("--seconds", type=click.FloatRange(1), default=10.0, show_default=True)
@click.option("--deadline-ms", type=click.IntRange(1), default=1_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--run", metavar="NAME", help="What the records go by.  [default: the commit]")
@QUIET
@click.option("--table", "only_table", is_flag=True, help="Measure nothing.")
def main(
    only: str,
    factors: list[float],
    seconds: float,
    deadline_ms: int,
    rounds: int,
    run: str | None,
    quiet: float,
    only_table: bool,
) -> None:
    """Offer a server more than it can do; results go to benchmarks/results/overload.jsonl."""
    how = {"seconds": seconds, "deadline_ms": deadline_ms}
    records = Records("overload", run, quiet=quiet, how=how)
    names = chosen(only, OURS)
    servers = [server for server in SERVERS if server.name in names]
    for turn in range(0 if only_table else rounds):
        for server in servers:
            missing = [
                factor
                for factor in factors
                if not records.has(server=server.name, factor=factor, round=turn)
            ]
            if missing:
                _overload(
                    records, server, missing, seconds=seconds, deadline_ms=deadline_ms, turn=turn
                )
    print(records.told(printed, only_table=only_table, last=run is None))


def _overload(
    records: Records, server: Server, factors: Sequence[float], *, seconds: float,
    deadline_ms: int, turn: int,
) -> None:  # fmt: skip
    try:
        with server.start() as running, asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            target = Target.parse(running.url)
            requests = _requests(target, server, deadline_ms)
            wait_for_quiet(records.quiet, server=running)
            before, reading = running.cpu_seconds(), Reading.now()
            peak = loop.run(_closed(target, requests, seconds))
            others = reading.others(server=spent(before, running.cpu_seconds()))
            print(f"{server.name}: capacity {peak.goodput:.1f}/s", file=sys.stderr)
            if others > records.quiet:
                print(f"disturbed, {others:.0%}: multiples of it would be of nothing",
                      file=sys.stderr)  # fmt: skip
                return
            common = {"server": server.name, "round": turn, "deadline_ms": deadline_ms,
                      "capacity": peak.goodput}  # fmt: skip
            for factor in factors:
                wait_for_quiet(records.quiet, server=running)
                before, reading = running.cpu_seconds(), Reading.now()
                found = loop.run(_open(target, requests, peak.goodput * factor, seconds, turn))
                offered = {"factor": factor, "offered": round(peak.goodput * factor, 1)}
                others = reading.others(server=spent(before, running.cpu_seconds()))
                records.append(**common, **offered, others=others, **found.to_dict())
                print(f"{server.name} x {factor:g}: {found.statuses}", file=sys.stderr)
    except (RuntimeError, OSError) as error:
        print(f"{server.name}: left out of round {turn}: {error}", file=sys.stderr)


async def _closed(target: Target, requests: Sequence[bytes], seconds: float) -> Figures:
    return await closed_loop(
        target, requests, connections=CALLERS, seconds=seconds, warm_up=2, images=BATCH
    )


async def _open(
    target: Target, requests: Sequence[bytes], rate: float, seconds: float, seed: int
) -> Figures:
    return await open_loop(
        target, requests, rate=rate, seconds=seconds, warm_up=2, in_flight=_IN_FLIGHT,
        seed=seed, images=BATCH,
    )  # fmt: skip


def _requests(target: Target, server: Server, deadline_ms: int) -> list[bytes]:
    call = server.calls["score"]
    pictures = synthetic(read(BUNDLE).image_spec)[:BATCH]
    headers = {**call.headers, "X-Deadline-Ms": str(deadline_ms)}
    return [target.request("POST", call.path, headers, call.body(pictures))]


def lines(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """The table of these records, medians and sums over the rounds, the headings first."""
    return [HEADS, *(_line(summary) for summary in summaries(records))]


def targets(records: Sequence[Record]) -> list[Promise]:
    """What holds at 4 times the capacity, for each server."""
    found = []
    for one in summaries(records):
        if one["factor"] == 4:
            share, late, counts = one["share"], one["worst_late"], one["counts"]
            name = f"{one['server']} at 4 times its capacity"
            found += [
                Promise(f"{name}: 200s >= 0.9 of its best", f"{share:.2f}", share >= 0.9),
                Promise(f"{name}: 504s < 0.1 % of the admitted, in the worst round",
                        f"{late:.2%}", late < 1e-3),
                Promise(f"{name}: nothing but 200, 429, 504", f"{counts['other']}",
                        not counts["other"]),
                Promise(f"{name}: all were sent", f"{counts['unsent']} not",
                        not counts["unsent"]),
                Promise(f"{name}: p99 of 200s < deadline, in the worst round",
                        f"{one['worst_p99']:.0f} ms", one["worst_p99"] < one["deadline_ms"]),
            ]  # fmt: skip
    return found


def target_lines(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """The targets' table, the headings first."""
    verdicts = {True: "holds", False: "missed"}
    rows = [(one.words, one.measured, verdicts[one.holds]) for one in targets(records)]
    return [("target", "measured", "verdict"), *rows]


def printed(records: Sequence[Record]) -> str:
    """Both tables, as text."""
    return f"{table(lines(records))}\n\n{table(target_lines(records))}"


def summaries(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One for each server and factor: rates are medians of the rounds, counts their sums."""
    found = []
    for name in OURS:
        own = [record for record in records if record["server"] == name]
        factors = sorted({record["factor"] for record in own if "factor" in record})
        sums = [_summary(name, factor, [r for r in own if r.get("factor") == factor])
                for factor in factors]  # fmt: skip
        capacity = [record["capacity"] for record in own if "capacity" in record]
        best = max([one["goodput"] for one in sums] + [statistics.median(capacity or [0])])
        found += [{**one, "share": one["goodput"] / best if best else 0.0} for one in sums]
    return found


def _summary(name: str, factor: float, records: Sequence[Record]) -> dict[str, Any]:
    counts = {"200": 0, "429": 0, "504": 0, "other": 0, "unsent": 0}
    for record in records:
        for status, count in record["statuses"].items():
            counts[status if status in counts else "other"] += count
        counts["other"] += sum(record["failures"].values())
        counts["unsent"] += record["unsent"]
    good = [record["latency_ms"]["2xx"] for record in records if "2xx" in record["latency_ms"]]
    return {
        "server": name,
        "factor": factor,
        "offered": statistics.median(record["offered"] for record in records),
        "goodput": statistics.median(record["goodput"] for record in records),
        "counts": counts,
        "p50": statistics.median(one["p50"] for one in good) if good else float("nan"),
        "p99": statistics.median(one["p99"] for one in good) if good else float("nan"),
        "worst_p99": max(one["p99"] for one in good) if len(good) == len(records) else math.inf,
        "worst_late": max(_late(record["statuses"]) for record in records),
        "late_ms": max(record["late_ms"] for record in records),
        "deadline_ms": records[0]["deadline_ms"],
    }


def _late(statuses: Mapping[str, int]) -> float:
    """The share of 504 among what was admitted."""
    late = statuses.get("504", 0)
    return late / max(1, statuses.get("200", 0) + late)


def _line(one: dict[str, Any]) -> tuple[str, ...]:
    return (
        one["server"],
        f"{one['factor']:g} x",
        f"{one['offered']:,.0f}",
        f"{one['goodput']:,.0f}",
        f"{one['share']:.2f}",
        *(f"{count:,}" for count in one["counts"].values()),
        f"{one['p50']:,.0f}",
        f"{one['p99']:,.0f}",
        f"{one['deadline_ms']:,}",
        f"{one['late_ms']:,.0f}",
    )


if __name__ == "__main__":
    main()
