"""Write docs/benchmarks.md and its pictures from what was recorded.

    python -m benchmarks.report

A benchmark without records has no section.   `--run NAME` takes that run and not the last.
"""

import statistics
from collections.abc import Sequence
from typing import Final

import click

from benchmarks import engine, overload
from benchmarks import serve_http_tables as http
from benchmarks.plots import draw_engine, draw_http, draw_overload
from benchmarks.records import ROOT, Record, Records

Lines = Sequence[Sequence[str]]
DOCUMENT: Final = ROOT / "docs" / "benchmarks.md"
PICTURES: Final = ROOT / "docs" / "images"

HEAD: Final = """\
# Benchmarks

Written by `python -m benchmarks.report` from the records in `benchmarks/results/`. Every figure is
a median over rounds in which all that is compared takes turns on one machine, load generator
included: trust the ratios, and only where other programs took little of the cores; measure the
rest where you serve. The model is `fashion`, which ships: 32x32 grey images, 64 latents.

```
python -m benchmarks.engine        # each appends JSON lines, measures only what is missing from
python -m benchmarks.serve_http    # its --run (by default the commit), and prints its tables;
python -m benchmarks.overload      # --only, --seconds, --rounds restrict it, --table measures
python -m benchmarks.report        # nothing, --quiet 0.1 waits for the others on the machine
```

Other seconds, warm-up or deadline make another measurement, never part of one that is there.

`serve_http` wants wrk (`apt-get install wrk`) and makes an environment for each peer in `.bench/`.
"""
ENGINE: Final = """\
## Engine

Images a second of a bare onnxruntime session, of our engine called by as many threads as it has,
and of the engine behind the batcher with two requests in flight per thread, as a server drives it.
The session is given its best of: one caller on one thread, one caller on all cores with and
without spinning, one caller per core. Above one, the batcher has merged small requests.
"""
HTTP: Final = """\
## Over HTTP

The same graph served by others, each after its own documentation with its own dynamic batching (at
most 64, the smallest wait it has), all with the same onnxruntime, Pillow and images. `biject` is
`biject serve`, on BentoML; `biject --bare` is the same app on plain uvicorn. Load by wrk with one
thread, on the same cores. Each has one session whose calls compute on one thread; how many of them
run at once, and what besides them takes a core, is the server's own. `x 2` is the same with two
processes that compute, one for each core: `biject serve --workers 2`, workers or replicas of the
others (MLServer's would carry each tensor to another process and back):

| server | computes on | besides |
|---|---|---|
| biject | a thread for each core | HTTP in the same process |
| LitServe | one process, one call at a time | HTTP in another process |
| BentoML batchable | a thread of its pool, one batch at a time | HTTP in the same process |
| MLServer | the event loop, one call at a time | HTTP in the same loop |
| Ray Serve | the replica's event loop, one call at a time | HTTP in another process |
| FastAPI def | threads of its pool, a request in each | HTTP in the same process |
| FastAPI async | the event loop, one call at a time | HTTP in the same loop |

| server | one image goes in as | 64 raw images go in as |
|---|---|---|
| biject | raw JPEG | npy |
| LitServe | base64 in JSON: it reads no raw body | base64 in JSON |
| BentoML batchable | a file of a form | base64 in JSON, one text each |
| MLServer | base64 in a BYTES tensor of the Open Inference Protocol | the same |
| Ray Serve | raw JPEG | raw bytes |
| FastAPI, both | raw JPEG, computed at once: no batching | raw bytes |

Before it was timed each gave the latents of a bare session, within 1e-3, for eight different
requests of either kind. images/CPU-s: images per second of processor time of all the server's
processes. p50 and p99 are of all answers.
"""
OVERLOAD: Final = """\
## Overload

Requests of 64 raw images to score, due at random times at a multiple of what eight callers in a
closed loop get (1 x), whether earlier ones are answered or not, each with `X-Deadline-Ms`. Latency
counts from when a request was due. Rates are medians, counts sums over the rounds; 504s and p99 are
judged by the worst round. Admitted is what was answered with 200 or 504.
"""


@click.command()
@click.option("--run", metavar="NAME", help="[default: the last one of each benchmark]")
def main(run: str | None) -> None:
    """Write docs/benchmarks.md anew."""
    for name, draw in (("engine", draw_engine), ("serve_http", draw_http),
                       ("overload", draw_overload)):  # fmt: skip
        if records := _records(name, run):
            draw(records, PICTURES / _picture(name))
    DOCUMENT.write_text(document(run), encoding="utf-8")
    click.echo(f"wrote {DOCUMENT}")


def document(run: str | None = None) -> str:
    """The text of docs/benchmarks.md, from the records of this run; None: of the last ones."""
    parts = [HEAD]
    if records := _records("engine", run):
        parts.append(_section(ENGINE, "engine", records, [engine.lines(records)]))
    if records := _records("serve_http", run):
        parts.append(_http_section(records))
    if records := _records("overload", run):
        tables = [overload.lines(records), overload.target_lines(records)]
        parts.append(_section(OVERLOAD, "overload", records, tables))
    return "\n".join(parts)


def _records(benchmark: str, run: str | None) -> list[Record]:
    records = Records(benchmark, run)
    return records.of_run(run) if run else records.last()


def _picture(benchmark: str) -> str:
    return f"benchmark-{benchmark.replace('_', '-')}.png"


def _http_section(records: Sequence[Record]) -> str:
    medians = http.Medians(records)
    whole = _section(HTTP, "serve_http", records, [])
    tables = {http.WORDS[name]: http.lines(medians, name) for name in http.WORDS
              if medians.cells(name)}  # fmt: skip
    tables["the limit: nobody asks"] = http.limits(medians)
    tables |= {words: http.ratios(medians, key) for key, words in http.RATIOS.items()}
    tables["targets"] = http.target_lines(http.targets(medians))
    for words, lines in tables.items():
        whole += f"\n### {words[0].upper()}{words[1:]}\n\n{_markdown(lines)}"
    return whole


def _section(text: str, name: str, records: Sequence[Record], tables: Sequence[Lines]) -> str:
    title = text.splitlines()[0].strip("# ")
    parts = [text, f"![{title}](images/{_picture(name)})\n", _whence(records)]
    return "\n".join([*parts, *(_markdown(lines) for lines in tables)])


def _whence(records: Sequence[Record]) -> str:
    """Where the figures come from: commits, dates, device, commands."""

    def all_of(key: str) -> str:
        return ", ".join(sorted({str(record[key]) for record in records}))

    shares = [record["others"] for record in records if "others" in record]
    others = f"{statistics.median(shares):.0%} of the cores, at most {max(shares):.0%}"
    commands = sorted({str(record["command"]) for record in records})
    listed = "\n".join(commands)
    return (
        f"Commit {all_of('commit')}, {all_of('date')}, on {all_of('device')}:\n\n"
        f"```\n{listed}\n```\n\n"
        f"Other programs took meanwhile, by the median of the measurements, {others}.\n"
    )


def _markdown(lines: Lines) -> str:
    """A table; all columns but the first to the right, where numbers want to be."""
    head, *rows = lines
    rule = ["---", *(["---:"] * (len(head) - 1))]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *rows))


if __name__ == "__main__":
    main()
