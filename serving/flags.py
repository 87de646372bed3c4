"""What the flags of the verbs without a server mean, the same for each verb that has them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from serving import files, store
from serving.engine import DEVICES
from serving.routes.parameters import known

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


class _BundlePath(click.Path):
    """A directory, or what `bento:NAME` or `bento:NAME:VERSION` means."""

    def __init__(self) -> None:
        super().__init__(exists=True, file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(store.located(value), param, ctx)
        except store.NotInStore as error:
            self.fail(str(error), param, ctx)


def command(command: Callable[..., None]) -> click.Command:
    """What all these commands have: the bundle, the device."""
    device = click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
    bundle = click.argument("bundle", type=_BundlePath())
    return click.command()(bundle(device(command)))


def parameter(verb: str, name: str) -> Decorator:
    """The verb's parameter as a flag, with the range and default that it has over HTTP."""
    (one,) = (parameter for parameter in known(verb) if parameter.name == name)
    if one.kind is bool:
        return click.option(f"--{name}", is_flag=True, help=one.about)
    bounds: dict[str, Any] = {
        "min": one.low if one.above is None else one.above,
        "max": one.high if one.below is None else one.below,
        "min_open": one.above is not None,
        "max_open": one.below is not None,
    }
    number = click.IntRange if one.kind is int else click.FloatRange
    kind = click.Choice(one.choices) if one.choices else number(**bounds)
    return click.option(
        f"--{name}", type=kind, default=one.default, show_default=True, help=one.about
    )


class _Images(click.Path):
    """A path of images."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if str(value) == "digits" or str(value).startswith("toy:"):
            self.fail(
                f"{value} is made for training and is no file: name images, folders, or zip, npz "
                "and idx files",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


images = click.argument(
    "images", nargs=-1, required=True, type=_Images(exists=True, path_type=Path)
)
label = click.option(
    "--label", metavar="CLASS", help="Of a conditional model: the class, by name or number."
)
figures = click.option(
    "--out", type=click.Path(path_type=Path), help=f"File to write: {' '.join(files.FIGURES)}."
)
pictures = click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help=f"File to write: {' '.join(files.PICTURES)}, or a folder.",
)
json = click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
ray = click.option("--ray", metavar="ADDRESS|local", help="Compute on a Ray cluster; for .parquet.")
verbose = click.option(
    "--verbose", is_flag=True, help="Say how fast it was beside its limits; for .parquet."
)
