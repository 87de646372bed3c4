"""--tile, --stride and --roi: how commands are told to cut frames into tiles."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from serving.errors import ServingError
from serving.images import ImageSpec
from serving.region import Region
from serving.tiles import Tiling

T = TypeVar("T", bound=Callable[..., Any])


class WrongCut(click.ClickException):
    """Wrong use, said in one sentence."""

    exit_code = 2


def cutting(command: T) -> T:
    """The command with these options."""
    for option in (
        click.option(
            "--roi", metavar="X,Y,W,H|MASK",
            help="What is looked at of each frame: a rectangle, or what is light in a mask image.",
        ),
        click.option(
            "--stride", metavar="N", type=click.IntRange(min=1),
            help="Pixels from tile to tile.  [default: that of the calibration, else --tile]",
        ),
        click.option(
            "--tile", metavar="N", type=click.IntRange(min=1),
            help="Cut images, at their own sizes, into tiles of the model's: their side.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def tiling(
    spec: ImageSpec | None,
    known: Mapping[str, Any] | None,
    *,
    tile: int | None,
    stride: int | None,
    roi: str | None,
) -> Tiling | None:
    """What the options ask of a model; see `Tiling.of`.  Raises WrongCut."""
    try:
        region = None if roi is None else Region.parse(roi, lambda path: Path(path).read_bytes())
        return Tiling.of(spec, known, tile=tile, stride=stride, region=region)
    except OSError as error:
        raise WrongCut(f"--roi {roi}: {error.strerror or error}") from error
    except ServingError as error:
        raise WrongCut(error.detail) from error
