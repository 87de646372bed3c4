"""`biject bench`: how fast a server answers, and how near the engine is to its runtime."""

import json
from pathlib import Path
from typing import Any

import click

from serving.engine import DEVICES
from serving.errors import BundleError, DeviceError, ServingError
from serving.load.command import serve
from serving.load.words import Numbers, table
from serving.planning_command import plan
from serving.session import Wrong
from serving.settings import BUNDLES
from serving.throughput import BATCHES, GRAPHS, Row, measured, opened

HEADS = ("graph", "batch", "raw session/s", "engine/s", "batcher/s", "engine/raw", "batcher/raw",
         "raw was best at")  # fmt: skip


@click.group()
def bench() -> None:
    """Measure: `serve` a running server, `engine` a bundle in this process; `plan` reckons.

    \b
    Example:
        biject bench serve localhost:3000 --connections 1,64
        biject bench engine
    """


bench.add_command(serve)
bench.add_command(plan)


@bench.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--graphs", metavar="NAME,...", help="[default: all that the bundle has]")
@click.option(
    "--batches", type=Numbers(int), default=",".join(map(str, BATCHES)), show_default=True
)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=0.5, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print figures as JSON, not a table.")
def engine(
    bundle: Path | None, graphs: str | None, batches: list[int], as_json: bool, **options: Any
) -> None:
    """Images a second of BUNDLE's graphs: a bare onnxruntime session, the engine, the batcher.

    The session is tried with one caller, with all cores in one call, spinning or not, and with a
    caller per core; the best counts. Without BUNDLE the model that comes with biject is taken.

    \b
    Example:
        biject bench engine my-models/digits/1 --graphs score --batches 1,64
    """
    device = options.pop("device")
    try:
        loaded = opened(bundle if bundle is not None else BUNDLES, device)
    except (BundleError, DeviceError, ServingError) as error:
        raise Wrong(str(error)) from error
    there = loaded.bundle.manifest.graphs
    wanted = graphs.split(",") if graphs else [name for name in GRAPHS if name in there]
    if unknown := [name for name in wanted if name not in there]:
        raise Wrong(f"{loaded.bundle.path} has no graph {unknown[0]!r}; it has {', '.join(there)}")
    rows = []
    for row in measured(loaded, graphs=wanted, batches=batches, **options):
        click.echo(f"{row.graph} of {row.batch}: done", err=True)
        rows.append(row)
    if as_json:
        click.echo(json.dumps([row.to_dict() for row in rows], indent=1))
    else:
        click.echo(table([HEADS, *(cells(row) for row in rows)]))


def cells(row: Row) -> tuple[str, ...]:
    """A line of the table."""
    figures = row.to_dict()
    return (
        row.graph,
        str(row.batch),
        *(f"{figures[key]:,.0f}" for key in ("raw_images", "engine_images", "batcher_images")),
        *(f"{figures[key]:.2f}" for key in ("engine_to_raw", "batcher_to_raw")),
        figures["raw_setting"],
    )
