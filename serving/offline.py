"""The verbs without a server: a bundle and image files in, one file out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from serving import files, store
from serving.engine import DEVICES, Device
from serving.files import Figures
from serving.latents import draw_seed
from serving.results import Scored
from serving.routes.parameters import known
from serving.session import Session, Wrong, session

_Decorator = Callable[[Callable[..., None]], Callable[..., None]]


class _BundlePath(click.Path):
    """A directory, or what `bento:NAME` or `bento:NAME:VERSION` means."""

    def __init__(self) -> None:
        super().__init__(exists=True, file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(store.located(value), param, ctx)
        except store.NotInStore as error:
            self.fail(str(error), param, ctx)


def _command(command: Callable[..., None]) -> click.Command:
    """What all these commands have: the bundle, the device."""
    device = click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
    bundle = click.argument("bundle", type=_BundlePath())
    return click.command()(bundle(device(command)))


def _parameter(verb: str, name: str) -> _Decorator:
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


_images = click.argument(
    "images", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path)
)
_figures = click.option(
    "--out", type=click.Path(path_type=Path), help=f"File to write: {' '.join(files.FIGURES)}."
)
_pictures = click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help=f"File to write: {' '.join(files.PICTURES)}, or a folder.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
_ray = click.option(
    "--ray", metavar="ADDRESS|local", help="Compute on a Ray cluster; for .parquet."
)
_verbose = click.option(
    "--verbose", is_flag=True, help="Say how fast it was beside its limits; for .parquet."
)


def _in_bulk(out: Path | None, ray: str | None, *, verbose: bool, as_json: bool = False) -> bool:
    """Whether the answer is a Parquet file, which may be of any number of images."""
    if out is None or out.suffix.lower() != ".parquet":
        if ray is not None or verbose:
            raise Wrong(f"{'--verbose' if ray is None else '--ray'} goes with --out FILE.parquet")
        return False
    if as_json:
        raise Wrong("--json prints what is small: leave it out, or let --out end in .json")
    try:
        files.check_figures(out)
    except files.WrongOutput as error:
        raise Wrong(str(error)) from error
    return True


def _run_in_bulk(verb: str, *arguments: Any, **options: Any) -> None:
    from serving.bulk import command  # which needs pyarrow, and serving does not

    command.run(verb, *arguments, **options)


@_command
@_images
@_figures
@_json
@_ray
@_verbose
def encode(
    bundle: Path,
    images: tuple[Path, ...],
    device: Device,
    out: Path | None,
    as_json: bool,
    ray: str | None,
    verbose: bool,
) -> None:
    """Write the latents of IMAGES, which are files or folders.

    Folders, .zip and .npz archives of any size go to a .parquet: block by block, and on where it
    stopped if it is killed.

    \b
    Example:
        biject encode my-models/digits/1 photos --out latents.npy
        biject encode my-models/digits/1 millions --out latents.parquet
    """
    if _in_bulk(out, ray, verbose=verbose, as_json=as_json):
        _run_in_bulk("encode", bundle, images, {}, device=device, out=out, ray=ray, verbose=verbose)
        return
    with session(bundle, device) as here:
        here.check_figures(out, as_json=as_json)
        source = here.source(images)
        latents = np.concatenate([here.pair.encode(block) for block in source])
        columns = {f"z{i}": latents[:, i] for i in range(latents.shape[1])}
        figures = Figures(
            name="latents",
            main=latents,
            columns={"file": source.names, **columns},
            document={"model": here.ref, "files": source.names, "latents": latents},
        )
        here.give(figures, out, as_json=as_json)


@_command
@_images
@_figures
@_json
@click.option("--by", metavar="TERM", help="Term of the score.  [default: the bundle's]")
@_parameter("score", "fpr")
@_ray
@_verbose
def score(
    bundle: Path,
    images: tuple[Path, ...],
    device: Device,
    out: Path | None,
    as_json: bool,
    by: str | None,
    fpr: float,
    ray: str | None,
    verbose: bool,
) -> None:
    """Write how abnormal IMAGES are: higher is more abnormal.

    \b
    Example:
        biject score my-models/digits/1 photos --out scores.csv
    """
    if _in_bulk(out, ray, verbose=verbose, as_json=as_json):
        asked = {"by": by, "fpr": fpr}
        _run_in_bulk(
            "score", bundle, images, asked, device=device, out=out, ray=ray, verbose=verbose
        )
        return
    with session(bundle, device) as here:
        here.check_figures(out, as_json=as_json)
        terms = here.manifest.score.terms
        if by is not None and by not in terms:
            raise Wrong(f"--by must be one of {', '.join(terms)}, got {by!r}")
        source = here.source(images)
        parts = [here.pair.score(block, by=by, fpr=fpr) for block in source]
        here.give(_score_figures(here, source.names, parts), out, as_json=as_json)
        if parts[0].verdict.note:
            click.echo(parts[0].verdict.note, err=True)


def _score_figures(here: Session, names: list[str], parts: list[Scored]) -> Figures:
    terms = np.concatenate([part.terms for part in parts])
    scores = terms[:, parts[0].column]
    columns: dict[str, Any] = {
        "file": names,
        "score": scores,
        "p_value": [p for part in parts for p in part.verdict.p_values],
        "anomalous": [flag for part in parts for flag in part.verdict.anomalous],
        **{name: terms[:, i] for i, name in enumerate(here.manifest.score.terms)},
    }
    rows = zip(*columns.values(), strict=True)
    return Figures(
        name="scores",
        main=scores,
        columns=columns,
        document={
            "model": here.ref,
            "by": parts[0].by,
            "threshold": parts[0].verdict.threshold,
            "results": [dict(zip(columns, row, strict=True)) for row in rows],
        },
    )


@_command
@_images
@_pictures
@_parameter("reconstruct", "refine")
@_ray
@_verbose
def reconstruct(
    bundle: Path,
    images: tuple[Path, ...],
    device: Device,
    out: Path,
    refine: int,
    ray: str | None,
    verbose: bool,
) -> None:
    """Write G(E(x)) of IMAGES.

    \b
    Example:
        biject reconstruct my-models/digits/1 photos --out back.png
    """
    if _in_bulk(out, ray, verbose=verbose):
        asked = {"refine": refine}
        _run_in_bulk(
            "reconstruct", bundle, images, asked, device=device, out=out, ray=ray, verbose=verbose
        )
        return
    with session(bundle, device) as here:
        here.check_pictures(out)
        source = here.source(images)
        made = [here.pair.reconstruct(block, refine=refine).items for block in source]
        here.draw(np.concatenate(made), out, names=source.names)


@_command
@_pictures
@click.option("-n", "count", type=click.IntRange(1), default=64, show_default=True)
@_parameter("sample", "seed")
@_parameter("sample", "truncation")
def sample(
    bundle: Path, device: Device, out: Path, count: int, seed: int | None, truncation: float
) -> None:
    """Write images drawn from the model.

    \b
    Example:
        biject sample my-models/digits/1 -n 64 --seed 0 --out grid.png
    """
    with session(bundle, device) as here:
        here.check_pictures(out)
        seed = draw_seed() if seed is None else seed
        here.draw(here.pair.sample(count, seed=seed, truncation=truncation), out)
        click.echo(f"seed: {seed}")


@_command
@_images
@_pictures
@_parameter("interpolate", "frames")
@_parameter("interpolate", "path")
@_parameter("interpolate", "exact")
@_parameter("interpolate", "fps")
def interpolate(
    bundle: Path,
    images: tuple[Path, ...],
    device: Device,
    out: Path,
    frames: int,
    path: Any,
    exact: bool,
    fps: float,
) -> None:
    """Write a morph through IMAGES.

    \b
    Example:
        biject interpolate my-models/digits/1 a.png b.png --out morph.webp
    """
    with session(bundle, device) as here:
        here.check_pictures(out)
        rows = np.concatenate(list(here.source(images)))
        if len(rows) < 2:
            raise Wrong(f"a morph needs at least 2 images, got {len(rows)}")
        morph = here.pair.interpolate(rows, frames=frames, path=path, exact=exact)
        here.draw(morph, out, moving=True, fps=fps)
