"""`biject bench plan`: what a demand needs, from a measured table."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from serving.load.words import Numbers, table
from serving.planning import DAY, BadTable, Capacity, Need, Table, capacity, once, steady
from serving.session import Wrong

_HEADS: Final = ("demand", "images/s", "cores beside", "hours", "on")
_MOST: Final = 10**15  # images


@click.command()
@click.argument("table_file", metavar="TABLE", type=click.Path(path_type=Path))
@click.option("--graph", default="encode", show_default=True)
@click.option("--per-day", type=Numbers(float, _MOST), default="1000000", show_default=True,
              help="Images a day.")  # fmt: skip
@click.option("--per-second", type=Numbers(float, _MOST), default="1000", show_default=True,
              help="Images a second, day and night.")  # fmt: skip
@click.option("--once", "whole", type=Numbers(float, _MOST), default="1000000000",
              show_default=True, help="Images to go through once.")  # fmt: skip
@click.option(
    "--units", type=click.IntRange(1), help="Cores or GPUs for --once.  [default: TABLE's]"
)
@click.option(
    "--image-ms",
    type=click.FloatRange(0),
    default=0.6,
    show_default=True,
    help="A core's time for an image outside of the graph: HTTP, decoding, JSON.",
)
@click.option(
    "--peak",
    type=click.FloatRange(1),
    default=3.0,
    show_default=True,
    help="The busiest minute of a day, over its mean.",
)
@click.option(
    "--load",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.6,
    show_default=True,
    help="How busy a core or GPU may be: what is left keeps waiting short.",
)
@click.option("--json", "as_json", is_flag=True, help="Print figures as JSON, not a table.")
def plan(
    table_file: Path,
    graph: str,
    per_day: Sequence[float],
    per_second: Sequence[float],
    whole: Sequence[float],
    units: int | None,
    image_ms: float,
    peak: float,
    load: float,
    as_json: bool,
) -> None:
    """Work out what a demand needs from TABLE, the costs of batches that a server has measured.

    A server keeps a table for each model in its folder of costs (--cache). The figures are of the
    machine that measured.

    \b
    Example:
        biject serve my-models --cache costs
        biject bench plan costs/*.json --graph score --per-day 5e6
    """
    try:
        measured = Table.read(table_file)
    except BadTable as error:
        raise Wrong(str(error)) from error
    if graph not in measured.costs.points:
        known = ", ".join(measured.costs.points)
        raise Wrong(f"{table_file} has no graph {graph!r}; it has {known}")
    of = capacity(measured, graph, image_ms / 1000)
    needs = [
        *(steady(f"{n:,.0f} images a day", n / DAY * peak, of, load) for n in per_day),
        *(steady(f"{n:,.0f} images a second", n, of, load) for n in per_second),
        *(once(f"{n:,.0f} images once", n, of, units or measured.workers) for n in whole),
    ]
    unit = "core" if measured.device == "cpu" else "GPU"
    if as_json:
        document = {"model": measured.model, "device": measured.device, "graph": graph,
                    "rows": of.rows, "images_per_unit": of.images, "served_per_unit": of.served,
                    "cores_per_unit": of.cores,
                    "needs": [need.to_dict() for need in needs]}  # fmt: skip
        click.echo(json.dumps(document, indent=1))
        return
    click.echo(_head(measured, graph, unit, of))
    click.echo(table([_HEADS, *(_cells(need, unit) for need in needs)]))


def _head(measured: Table, graph: str, unit: str, of: Capacity) -> str:
    beside = f" and keeps {of.cores:.1f} cores busy beside it" if of.cores else ""
    return (
        f"{graph} of {measured.model}: a {unit} computes {of.images:,.0f} images/s in batches of "
        f"{of.rows}, serves {of.served:,.0f}{beside}"
    )


def _cells(need: Need, unit: str) -> tuple[str, ...]:
    hours = "-" if need.hours is None else f"{need.hours:,.1f}"
    beside = f"{need.cores:,}" if need.cores else "-"
    on = f"{need.units:,} {unit}" + ("s" if need.units > 1 else "")
    return (need.demand, f"{need.images:,.0f}", beside, hours, on)
