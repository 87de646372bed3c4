"""Our server, BentoML's and bare, against other servers of the same graph: requests over HTTP.

    python -m benchmarks.serve_http                    # all of it; again: what is missing
    python -m benchmarks.serve_http --only biject,LitServe --connections 64 --seconds 3 --rounds 1
    python -m benchmarks.serve_http --table            # from what was recorded

Each round starts one server after another, asks it by wrk, and stops it.  A peer is measured only
after its latents were the raw session's.  Needs wrk, and a minute or two for the environments.
"""

import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click
import numpy as np

from benchmarks import wrk
from benchmarks.processes import Reading, Running, spent, wait_for_quiet
from benchmarks.records import QUIET, Records, chosen
from benchmarks.serve_http_tables import printed
from benchmarks.servers import BUNDLE, SERVERS, Call, Floats, Images, Server, jpeg
from serving.bundle import read
from serving.cores import usable_cores
from serving.images import decode
from serving.load.bodies import synthetic
from serving.load.words import Numbers
from serving.throughput import Setting, raw_session, settings_of, speed_of
from serving.tuning import noise

WORKLOADS: Final[Mapping[str, tuple[tuple[int, ...], int]]] = {
    # name: connections, images in a request
    "livez": ((64,), 0),
    "jpeg": ((1, 8, 64, 256), 1),
    "arrays": ((8,), 64),
    "score": ((8,), 64),
    "png": ((64,), 1),
}
BATCH: Final = 64
_CHECKED: Final = 8  # requests whose answers are compared before a server is measured
_TOLERANCE: Final = 1e-3
_open: Final = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


@click.command()
@click.option("--only", metavar="NAME,...", help="Servers, or `raw` for the raw session.")
@click.option("--workloads", metavar="NAME,...", help=f"Among {', '.join(WORKLOADS)}.")
@click.option("--connections", type=Numbers(int), help="Instead of each workload's own.")
@click.option("--seconds", type=click.FloatRange(1), default=5.0, show_default=True)
@click.option("--warm-up", type=click.FloatRange(0), default=2.0, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--run", metavar="NAME", help="What the records go by.  [default: the commit]")
@QUIET
@click.option("--table", "only_table", is_flag=True, help="Measure nothing.")
def main(
    only: str | None,
    workloads: str | None,
    connections: list[float] | None,
    seconds: float,
    warm_up: float,
    rounds: int,
    run: str | None,
    quiet: float,
    only_table: bool,
) -> None:
    """Compare the servers over HTTP; results go to benchmarks/results/serve_http.jsonl."""
    how = {"seconds": seconds, "warm_up": warm_up}
    records = Records("serve_http", run, quiet=quiet, how=how)
    if not only_table:
        if not wrk.there():
            raise click.UsageError("wrk is wanted: apt-get install wrk")
        known = ["raw", *(server.name for server in SERVERS)]
        names = chosen(only, known) if only else known
        workloads = workloads or ",".join(WORKLOADS)
        cells = _cells(chosen(workloads, list(WORKLOADS)), connections)
        for turn in range(rounds):
            _round(records, turn, names, cells, seconds=seconds, warm_up=warm_up)
    print(records.told(printed, only_table=only_table, last=run is None))


Cell = tuple[str, int]  # workload, connections


def _cells(workloads: Sequence[str], counts: list[float] | None) -> list[Cell]:
    return [(name, int(count)) for name in workloads for count in (counts or WORKLOADS[name][0])]


def _round(
    records: Records,
    turn: int,
    names: Sequence[str],
    cells: Sequence[Cell],
    *,
    seconds: float,
    warm_up: float,
) -> None:
    if "raw" in names:
        _measure_raw(records, turn, seconds)
    for server in SERVERS:
        if server.name not in names:
            continue
        open_cells = [
            (workload, count)
            for workload, count in cells
            if workload in server.calls
            and not records.has(
                server=server.name, workload=workload, connections=count, round=turn
            )
        ]
        if not open_cells:
            continue
        try:
            server.install()
            with server.start() as running:
                _check(server, running)
                for workload, count in open_cells:
                    _measure(records, turn, server, running, workload, count, seconds, warm_up)
        except (RuntimeError, OSError, ValueError) as error:
            print(f"{server.name}: left out of round {turn}: {error}", file=sys.stderr)


def _measure(
    records: Records,
    turn: int,
    server: Server,
    running: Running,
    workload: str,
    connections: int,
    seconds: float,
    warm_up: float,
) -> None:
    call, images = server.calls[workload], WORKLOADS[workload][1]
    bodies = [call.body(batch) for batch in _batches(max(1, images))]
    how: dict[str, Any] = {"connections": connections, "headers": call.headers}
    if warm_up:
        wrk.load(running.url, call.path, bodies, seconds=warm_up, **how)
    wait_for_quiet(records.quiet, server=running)
    before, reading = running.cpu_seconds(), Reading.now()
    load = wrk.load(running.url, call.path, bodies, seconds=seconds, **how)
    busy = spent(before, running.cpu_seconds())
    record = records.append(
        server=server.name,
        workload=workload,
        connections=connections,
        round=turn,
        took=round(load.seconds, 3),
        good_per_second=round(load.good / load.seconds, 1),
        images_per_second=round(load.good * images / load.seconds, 1),
        errors=load.errors,
        cpu_seconds=round(busy, 3),
        others=reading.others(server=busy),
        images_per_cpu_second=round(load.good * images / busy, 1) if images * busy else None,
        **load.latency_ms,
    )
    print(
        f"round {turn}  {server.name}  {workload} x {connections}: "
        f"{record['good_per_second']:,.0f}/s, p99 {record['p99']:.1f} ms {load.errors or ''}",
        file=sys.stderr,
    )


def _measure_raw(records: Records, turn: int, seconds: float) -> None:
    """The limit: a raw session in this process, in each of its settings, nobody asking."""
    bundle = read(BUNDLE)
    for graph in ("encode", "score"):
        (tensor,) = bundle.manifest.graphs[graph].inputs
        feed = {tensor.name: noise(tensor, BATCH)}
        for setting in settings_of(usable_cores(), "cpu"):
            if records.has(graph=graph, setting=str(setting), round=turn):
                continue
            session = raw_session(bundle, graph, setting)
            wait_for_quiet(records.quiet)
            reading = Reading.now()
            speed = speed_of(
                lambda session=session, feed=feed: session.run(None, feed),  # type: ignore[misc]
                setting.callers,
                BATCH,
                seconds,
            )
            records.append(
                graph=graph,
                setting=str(setting),
                round=turn,
                batch=BATCH,
                others=reading.others(),
                images_per_second=round(speed.images, 1),
                images_per_cpu_second=round(speed.per_cpu_second, 1),
            )
            print(f"round {turn}  raw {graph} {setting}: {speed.images:,.0f}/s", file=sys.stderr)


def _batches(images: int) -> Iterator[Images]:
    """What is sent in turn: each batch begins one image later than the one before."""
    pictures = _pictures()
    for start in range(len(pictures)):
        yield pictures[[(start + place) % len(pictures) for place in range(images)]]


def _pictures() -> Images:
    """32x32 grey ones, the model's own size: nobody has to resize."""
    return np.asarray(synthetic(read(BUNDLE).image_spec), np.uint8)


def _check(server: Server, running: Running) -> None:
    """Raises ValueError unless the server's latents are those of the raw session."""
    for workload, call in server.calls.items():
        if call.latents is None:
            continue
        images = WORKLOADS[workload][1]
        for batch, _ in zip(_batches(images), range(_CHECKED), strict=False):
            answer = _asked(running, call, call.body(batch))
            found, wanted = call.latents(answer), _latents(batch, workload)
            if found.shape != wanted.shape:
                raise ValueError(f"{workload}: latents of {found.shape}, wanted {wanted.shape}")
            error = float(np.abs(found - wanted).max())
            if not error <= _TOLERANCE:
                raise ValueError(f"{workload}: the latents are wrong by {error:.2g}")


def _latents(batch: Images, workload: str) -> Floats:
    """By a raw session, of the pixels that a server has after decoding."""
    bundle = read(BUNDLE)
    if workload == "jpeg":
        batch = decode(jpeg(batch), bundle.image_spec)[np.newaxis]
    session = raw_session(bundle, "encode", Setting(1, 1, False))
    latents: Floats = session.run(None, {"images": batch})[0]
    return latents


def _asked(running: Running, call: Call, body: bytes) -> bytes:
    """The answer to one request; tried again for a while, as some are ready before they are."""
    request = urllib.request.Request(running.url + call.path, body, call.headers)
    end = time.monotonic() + 20
    while True:
        try:
            with _open(request, timeout=20) as answer:
                found: bytes = answer.read()
                return found
        except urllib.error.HTTPError as error:
            text = error.read()[:300].decode("utf-8", "replace")
            if time.monotonic() > end:
                raise ValueError(f"{call.path}: {error.code}: {text}") from error
        except OSError:
            if time.monotonic() > end:
                raise
        time.sleep(0.5)


if __name__ == "__main__":
    main()
