"""What the commands that write bundles share: where to, what is said, how they fail."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from export import store
from export.destination import Destination
from export.errors import BadNetworks, ExportError, ParityFailure
from models.errors import ModelError
from serving.bundle import Manifest
from serving.errors import BundleError

T = TypeVar("T", bound=Callable[..., Any])
FAILED_WORK = (ParityFailure, BadNetworks)  # nothing the user typed is wrong: exit code 1


class WrongUse(click.ClickException):
    """What was asked for cannot be done: exit code 2, as for a wrong option."""

    exit_code = 2


def placing(command: T) -> T:
    """The command with what says where a bundle goes, and under which name."""
    for option in (
        click.option(
            "--store", "to_store", is_flag=True, help="Put it into BentoML's model store."
        ),
        click.option(
            "--version", metavar="V", type=click.IntRange(min=1),
            help="Its version.  [default: from OUT, or the store's next one]",
        ),
        click.option(
            "--name", metavar="N", help="The model's name.  [default: from OUT, NAME/VERSION]"
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def say_parity(manifest: Manifest, original: str) -> None:
    for graph, outputs in manifest.extra["parity"]["errors"].items():
        shown = ", ".join(f"{output} {error:.2g}" for output, error in outputs.items())
        click.echo(f"  {graph} differs from {original} by at most: {shown}", err=True)


def say_place(place: Destination, out: Path | None, *, to_store: bool) -> None:
    if out is not None:
        click.echo(str(out))
    if to_store:
        click.echo(store.tag_of(place))


@contextmanager
def one_sentence() -> Iterator[None]:
    """Say a user's mistake in one sentence: exit code 1 for failed work, 2 for wrong use."""
    try:
        yield
    except FAILED_WORK as error:
        raise click.ClickException(str(error)) from error
    except (ExportError, ModelError, BundleError) as error:
        raise WrongUse(str(error)) from error
    except OSError as error:  # a full disk, a folder that may not be written
        raise click.ClickException(str(error)) from error
