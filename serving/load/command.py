"""`biject bench serve`: requests to a running server, and a table of what came back."""

import asyncio
import json
import sys
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import click

from serving.load.bodies import BODIES, BadBody, Body, Taken, payloads
from serving.load.figures import Figures
from serving.load.loops import closed_loop, open_loop
from serving.load.wire import BadUrl, Connection, Failed, Target
from serving.load.words import Numbers, table
from serving.session import Wrong
from serving.verbs import VERBS

T = TypeVar("T")
_ASK_S: Final = 10.0
_OK: Final = 200
_MOST_PER_SECOND: Final = 100_000  # more than one process can send
_MOST_CONNECTIONS: Final = 60_000  # ports
_HEADS: Final = (
    "load", "answers/s", "200s/s", "images/s", "p50 ms", "p90 ms", "p99 ms", "max ms",
    "what came back",
)  # fmt: skip


@click.command()
@click.argument("url", metavar="URL")
@click.option("--model", default="default", show_default=True, help="NAME or NAME@VERSION.")
@click.option("--verb", type=click.Choice(VERBS), default="encode", show_default=True)
@click.option("--images", metavar="FOLDER|synthetic", default="synthetic", show_default=True)
@click.option("--body", type=click.Choice(BODIES), help="[default: jpeg; npy where no image goes]")
@click.option(
    "--batch", type=click.IntRange(1), default=1, show_default=True, help="Images in each request."
)
@click.option("--accept", default="application/json", show_default=True, help="Type of answer.")
@click.option(
    "--connections",
    type=Numbers(int, most=_MOST_CONNECTIONS),
    default="1,8,64,256",
    show_default=True,
    help="Closed loop: so many callers, each asks again at once.",
)
@click.option(
    "--rate",
    type=Numbers(float, most=_MOST_PER_SECOND),
    help="Open loop instead: so many requests a second, answered or not.",
)
@click.option("--even", is_flag=True, help="With --rate: equal gaps, not a Poisson process.")
@click.option(
    "--in-flight",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="With --rate: most that wait for an answer; those due beyond are counted.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the Poisson process.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=5.0, show_default=True)
@click.option(
    "--warm-up",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Seconds of the same load before.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds until a request counts as failed.",
)
@click.option("--deadline-ms", type=click.IntRange(1), help="Sent as X-Deadline-Ms.")
@click.option("--key", envvar="BIJECT_API_KEY", help="Shown to the server.  [env: BIJECT_API_KEY]")
@click.option("--json", "as_json", is_flag=True, help="Print figures as JSON, not a table.")
def serve(url: str, model: str, as_json: bool, **options: Any) -> None:
    """Ask the server at URL for --seconds at each number of --connections, or at each --rate.

    It looks up what the model takes, makes requests of that size, and counts every answer by its
    status and every failure by its kind. Latency at a --rate counts from when a request was due.

    \b
    Example:
        biject bench serve localhost:3000 --verb score --body npy --batch 64 --rate 50,200
    """
    try:
        target = Target.parse(url)
    except BadUrl as error:
        raise Wrong(str(error)) from error
    rows = _run(_measure(target, url, model, options))
    if as_json:
        document = {"url": url, "model": model, "verb": options["verb"]}
        click.echo(json.dumps({**document, "rows": [_document(*row) for row in rows]}, indent=1))
    else:
        click.echo(_table(rows))
        for label, figures in rows:
            if figures.refusal:
                click.echo(f"{label}: the first refusal: {figures.refusal}", err=True)
    if not any(figures.statuses.get(_OK) for _, figures in rows):
        raise click.ClickException("not one request was answered with 200")


Row = tuple[str, Figures]  # "64 connections" or "200 /s", and what it gave


async def _measure(target: Target, url: str, model: str, options: Mapping[str, Any]) -> list[Row]:
    headers = {"Accept": options["accept"]}
    if options["key"]:
        headers["Authorization"] = f"Bearer {options['key']}"
    if any(not value.isprintable() for value in headers.values()):
        raise Wrong("--accept and --key must be printable, on one line")
    taken = await _taken(target, url, model, headers)
    if options["deadline_ms"]:
        headers["X-Deadline-Ms"] = str(options["deadline_ms"])
    requests = _requests(target, model, taken, headers, options)
    common = {
        "seconds": options["seconds"],
        "warm_up": options["warm_up"],
        "timeout": options["timeout"],
        "images": options["batch"],
    }
    rows: list[Row] = []
    if options["rate"] is None:
        for count in options["connections"]:
            label = f"{count} connections"
            click.echo(f"{label}: {options['seconds']:g} s", err=True)
            figures = await closed_loop(target, requests, connections=count, **common)
            rows.append((label, figures))
    for rate in options["rate"] or ():
        label = f"{rate:g} /s"
        click.echo(f"{label}: {options['seconds']:g} s", err=True)
        paced = {"in_flight": options["in_flight"], "seed": None if options["even"] else
                 options["seed"]}  # fmt: skip
        rows.append((label, await open_loop(target, requests, rate=rate, **paced, **common)))
    return rows


async def _taken(target: Target, url: str, model: str, headers: Mapping[str, str]) -> Taken:
    """What the model takes, by what the server says of it.  Anything else is wrong use."""
    connection = Connection(target)
    request = target.request(
        "GET", f"/v1/models/{quote(model, safe='@')}", {**headers, "Accept": "*/*"}
    )
    try:
        answer = await connection.ask(request, timeout=_ASK_S, keep=True)
    except Failed as error:
        raise Wrong(f"no server answers at {url}: {error}") from error
    finally:
        connection.close()
    try:
        document = json.loads(answer.body)
        if answer.status == _OK:
            return Taken.of(document)
        why = str(document["detail"])
    except (ValueError, TypeError, KeyError) as error:
        raise Wrong(f"what answers at {url} is no biject server: {answer.status}") from error
    raise Wrong(f"{url} says {answer.status}: {why}")


def _requests(
    target: Target, model: str, taken: Taken, headers: Mapping[str, str], options: Mapping[str, Any]
) -> list[bytes]:
    folder = None if options["images"] == "synthetic" else Path(options["images"])
    body: Body | None = options["body"]
    if folder is not None and not folder.is_dir():
        raise Wrong(f"--images: {folder} is not a folder")
    verb = options["verb"]
    path = f"/v1/models/{quote(model, safe='@')}/{verb}"
    try:
        found = payloads(taken, verb, body=body, batch=options["batch"], folder=folder)
    except BadBody as error:
        raise Wrong(str(error)) from error
    return [
        target.request(
            "POST", path, {**headers, "Content-Type": one.content_type}, one.body
        )
        for one in found
    ]  # fmt: skip


def _run(work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives, on uvloop where there is one: a faster generator measures more truly."""
    factory = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


def _document(label: str, figures: Figures) -> dict[str, Any]:
    return {"load": label, **figures.to_dict()}


def _table(rows: Sequence[Row]) -> str:
    return table([_HEADS, *(_cells(*row) for row in rows)])


def _cells(label: str, figures: Figures) -> tuple[str, ...]:
    """The row of one load; its latencies are those of the 200s."""
    good = figures.latency.get("2xx")
    times = [good.p50, good.p90, good.p99, good.max] if good else []
    counts = {str(status): count for status, count in sorted(figures.statuses.items())}
    counts |= figures.failures
    if figures.unsent:
        counts["not sent"] = figures.unsent
    return (
        label,
        f"{figures.throughput:,.1f}",
        f"{figures.goodput:,.1f}",
        f"{figures.images_per_second:,.0f}",
        *(f"{time:,.2f}" for time in times),
        *(["-"] * (4 - len(times))),
        ", ".join(f"{name}: {count:,}" for name, count in counts.items()) or "nothing",
    )
