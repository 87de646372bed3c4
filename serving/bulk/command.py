"""A verb with `--out FILE.parquet`: from the command's arguments to the file, in sentences."""

import contextlib
import sys
from collections.abc import Mapping
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import click

from serving import labels
from serving.bulk import limits, on_ray
from serving.bulk.job import Job
from serving.bulk.ledger import Ledger
from serving.bulk.pipeline import Answers, Pipeline
from serving.bulk.progress import Progress
from serving.bulk.stopping import Stop
from serving.bulk.tables import WHAT
from serving.bundle import read
from serving.engine import Device
from serving.errors import ServingError
from serving.session import Wrong, check_bundle, said
from serving.verbs import check_graph


def run(
    verb: str,
    bundle: Path,
    images: tuple[Path, ...],
    parameters: Mapping[str, Any],
    *,
    device: Device,
    out: Path,
    ray: str | None,
    verbose: bool,
) -> None:
    """Compute `verb` over `images` and write `out`, or go on with that."""
    with said():
        if ray is not None:
            on_ray.check(verbose=verbose)
        job = _job(verb, bundle, images, parameters, device, out)
        with Ledger(job) as ledger:
            if ledger.complete:
                ledger.tidy()
                click.echo(f"{out}: done already; remove it to begin anew")
                return
            try:
                _work(ledger, ray, verbose=verbose)
            except OSError as error:
                raise click.ClickException(
                    f"{out}: {error.strerror or error}; what is done is kept: once that is "
                    "mended, the same command goes on"
                ) from error


def _job(
    verb: str,
    bundle: Path,
    images: tuple[Path, ...],
    parameters: Mapping[str, Any],
    device: Device,
    out: Path,
) -> Job:
    check_bundle(bundle)
    opened = read(bundle)
    manifest = opened.manifest
    if manifest.image is None:
        raise Wrong(
            f"{manifest.name}@{manifest.version} takes vectors, not images: ask it over HTTP"
        )
    check_graph(manifest, verb)
    try:
        label = labels.numbered(manifest, {"label": parameters["label"]})
    except ServingError as error:
        raise Wrong(f"--label: {error.detail}") from error
    given = {**parameters, "label": label}
    parameters = {name: value for name, value in given.items() if value is not None}
    if verb == "score":
        by = parameters.get("by") or manifest.score.default
        if by not in manifest.score.terms:
            raise Wrong(f"--by must be one of {', '.join(manifest.score.terms)}, got {by!r}")
        parameters = {**parameters, "by": by}
    return Job(
        bundle=bundle.absolute(),
        manifest=manifest,
        device=device,
        verb=verb,
        parameters=parameters,
        images=images,
        out=out,
    )


def _work(ledger: Ledger, ray: str | None, *, verbose: bool) -> None:
    """Do the parts that are not done, and publish the answer, unless the user stops it."""
    left = sum(map(ledger.rows, ledger.todo()))
    if left < ledger.total:
        click.echo(f"going on: {ledger.total - left:,} images are done", err=True)
    progress = Progress(ledger.total, ledger.total - left)
    speeds = None
    with Stop() as stop, contextlib.suppress(KeyboardInterrupt):
        if ray is not None:
            on_ray.work(ledger, ray, stop, progress)
        else:
            speeds = _work_here(ledger, stop, progress, verbose=verbose)
    progress.end()
    out = ledger.job.out
    if todo := ledger.todo():
        done = ledger.total - sum(map(ledger.rows, todo))
        click.echo(
            f"stopped after {done:,} of {ledger.total:,} images; the same command goes on", err=True
        )
        sys.exit(128 + stop.signal)
    total, failed = ledger.publish()
    lost = f", {failed} more cannot be read: see the column error" if failed else ""
    click.echo(f"{out}: {WHAT[ledger.job.verb]} of {total - failed} images{lost}")
    if speeds is not None:
        click.echo(speeds)


def _work_here(ledger: Ledger, stop: Stop, progress: Progress, *, verbose: bool) -> str | None:
    """On this machine; how fast that was beside its limits, if that is wanted."""
    pipeline = Pipeline(ledger.job)

    def count(answers: Answers) -> None:
        progress.add(len(answers.errors), sum(error is not None for error in answers.errors))

    try:
        for part, table in pipeline.parts(ledger, stop, count):
            ledger.write(part, table)
        rate = progress.rate
        if not verbose or stop() or not rate:
            return None
        found = limits.measured(pipeline, ledger)
        return None if found is None else found.said(rate)
    except BrokenProcessPool as error:
        if stop():
            return None
        raise click.ClickException(
            "a decoding process died, killed or out of memory: the same command goes on from here"
        ) from error
    finally:
        pipeline.close()
