"""`biject export` and `biject evaluate`: a run to a bundle, and the figures of either."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version as installed_version
from pathlib import Path

import click

from export import bundle_writer, report
from export import evaluate as evaluation
from export.destination import destination
from export.errors import BadNetworks, BadOutput, ExportError, ParityFailure
from export.runs import facts_of, pair_of, preprocess_of
from export.subjects import open_subject
from export.watching import Terminal
from models.errors import ModelError
from models.training.checkpoint import load_pair
from serving.errors import BundleError

FAILED_WORK = (ParityFailure, BadNetworks)  # nothing the user typed is wrong: exit code 1


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--name", metavar="N", help="The model's name.  [default: from OUT, NAME/VERSION]")
@click.option(
    "--version", metavar="V", type=click.IntRange(min=1), help="Its version.  [default: from OUT]"
)
@click.option(
    "--precision", type=click.Choice(["fp32"]), default="fp32", show_default=True,
    help="Of the weights and of the arithmetic.",
)  # fmt: skip
def export(run: Path, out: Path, name: str | None, version: int | None, precision: str) -> None:
    """Write the bundle OUT (.../NAME/VERSION) from the latest checkpoint of RUN.

    The graphs are compared with torch before OUT comes to exist.

    \b
    Example:
        biject export runs/digits my-models/digits/1
        biject serve my-models
    """
    with _one_sentence():
        place = destination(out, name=name, version=version)
        trained = load_pair(run)
        command = shlex.join(["biject", "export", str(run), str(out)])
        manifest = bundle_writer.write(
            pair_of(trained),
            place,
            preprocess=preprocess_of(trained),
            facts=facts_of(trained, command=command) | {"biject": installed_version("biject")},
            say=lambda line: click.echo(line, err=True),
        )
    for graph, outputs in manifest.extra["parity"]["errors"].items():
        shown = ", ".join(f"{output} {error:.2g}" for output, error in outputs.items())
        click.echo(f"  {graph} differs from torch by at most: {shown}", err=True)
    click.echo(str(out))


@click.command()
@click.argument("subject", metavar="RUN_OR_BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--data", metavar="D", required=True, help="What it was trained for: a folder, .zip, .npz, ..."
)
@click.option("--against", metavar="D2", help="What it was not: to be told apart by score.")
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
    help="Write report.json and pictures there.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--write", metavar="OUT", type=click.Path(path_type=Path),
    help="Write a new version of the bundle, with the figures in its manifest and card.",
)  # fmt: skip
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), help="At most N images of each part."
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True,
    help="Of samples and of the classifier.",
)  # fmt: skip
def evaluate(
    subject: Path,
    data: str,
    against: str | None,
    out: Path | None,
    as_json: bool,
    write: Path | None,
    limit: int | None,
    seed: int,
) -> None:
    """Measure RUN_OR_BUNDLE on images, beside PCA, raw pixels and a random encoder.

    \b
    Example:
        biject evaluate my-models/fashion/1 --data fashion-mnist --against mnist --out report
    """
    with _one_sentence():
        measured = open_subject(subject)
        place = destination(write) if write is not None else None
        if place is not None and measured.opened is None:
            raise BadOutput(f"--write takes a bundle, and {subject} is a run: export it first")
        found = evaluation.evaluate(
            measured, data=data, against=against, limit=limit, seed=seed, watch=Terminal()
        )
        click.echo(json.dumps(found.figures) if as_json else report.text(found.figures))
        if out is not None:
            report.save(found, out)
            click.echo(f"pictures and report.json are in {out}", err=True)
        if place is not None and measured.opened is not None:
            bundle_writer.rewrite(measured.opened, place, changes={"quality": found.figures})
            click.echo(f"wrote {write}", err=True)


class WrongUse(click.ClickException):
    """What was asked for cannot be done: exit code 2, as for a wrong option."""

    exit_code = 2


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Say a user's mistake in one sentence: exit code 1 for failed work, 2 for wrong use."""
    try:
        yield
    except FAILED_WORK as error:
        raise click.ClickException(str(error)) from error
    except (ExportError, ModelError, BundleError) as error:
        raise WrongUse(str(error)) from error
    except OSError as error:  # a full disk, a folder that may not be written
        raise click.ClickException(str(error)) from error
