"""The verbs without a server: a bundle and image files in, one file out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from serving import files, store
from serving.cutting import cutting, tiling
from serving.engine import DEVICES, Device
from serving.files import Figures
from serving.latents import draw_seed
from serving.results import Scored
from serving.routes.parameters import known
from serving.session import Session, Wrong, session
from serving.tiles import Box

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


_images = click.argument(
    "images", nargs=-1, required=True, type=_Images(exists=True, path_type=Path)
)
_label = click.option(
    "--label", metavar="CLASS", help="Of a conditional model: the class, by name or number."
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
@_label
def encode(
    bundle: Path,
    images: tuple[Path, ...],
    device: Device,
    out: Path | None,
    as_json: bool,
    ray: str | None,
    verbose: bool,
    label: str | None,
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
        asked = {"label": label}
        _run_in_bulk(
            "encode", bundle, images, asked, device=device, out=out, ray=ray, verbose=verbose
        )
        return
    with session(bundle, device) as here:
        here.check_figures(out, as_json=as_json)
        told = here.label(label)
        source = here.source(images)
        latents = np.concatenate([here.pair.encode(block, label=told) for block in source])
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
@_label
@cutting
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
    label: str | None,
    tile: int | None,
    stride: int | None,
    roi: str | None,
) -> None:
    """Write how abnormal IMAGES are: higher is more abnormal.

    With --tile each is cut, at its own size, into tiles of the model's size, and is as abnormal as
    the worst of them.

    \b
    Example:
        biject score my-models/digits/1 photos --out scores.csv
        biject score my-models/tiles/2 frames --tile 64 --out scores.csv
    """
    if _in_bulk(out, ray, verbose=verbose, as_json=as_json):
        if tile is not None or stride is not None or roi is not None:
            raise Wrong("--tile, --stride and --roi go with another --out than .parquet")
        asked = {"by": by, "fpr": fpr, "label": label}
        _run_in_bulk(
            "score", bundle, images, asked, device=device, out=out, ray=ray, verbose=verbose
        )
        return
    with session(bundle, device) as here:
        here.check_figures(out, as_json=as_json)
        told = here.label(label)
        terms = here.manifest.score.terms
        if by is not None and by not in terms:
            raise Wrong(f"--by must be one of {', '.join(terms)}, got {by!r}")
        cut: Any = {"tile": tile, "stride": stride, "roi": roi}
        tiled = tiling(here.manifest.image, here.manifest.score.tiles, **cut)
        source = here.source(images) if tiled is None else here.frames(images)
        parts = [here.pair.score(block, by=by, fpr=fpr, label=told, **cut) for block in source]
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
        **_worst(parts),
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


def _worst(parts: list[Scored]) -> dict[str, Any]:
    """Of frames that were cut, how many tiles they made, and where the worst is."""
    wholes = [part.whole for part in parts if part.whole is not None]
    boxes = [one.box for whole in wholes for one in whole.worst if one is not None]
    if not wholes:
        return {}
    places = {f"worst_{name}": [getattr(box, name) for box in boxes] for name in Box._fields}
    return {"tiles": [count for whole in wholes for count in whole.counts], **places}


@_command
@_images
@_pictures
@_parameter("reconstruct", "refine")
@_ray
@_verbose
@_label
def reconstruct(
    bundle: Path,
    images: tuple[Path, ...],
    device: Device,
    out: Path,
    refine: int,
    ray: str | None,
    verbose: bool,
    label: str | None,
) -> None:
    """Write G(E(x)) of IMAGES.

    \b
    Example:
        biject reconstruct my-models/digits/1 photos --out back.png
    """
    if _in_bulk(out, ray, verbose=verbose):
        asked = {"refine": refine, "label": label}
        _run_in_bulk(
            "reconstruct", bundle, images, asked, device=device, out=out, ray=ray, verbose=verbose
        )
        return
    with session(bundle, device) as here:
        here.check_pictures(out)
        told = here.label(label)
        source = here.source(images)
        made = [here.pair.reconstruct(block, refine=refine, label=told).items for block in source]
        here.draw(np.concatenate(made), out, names=source.names)


@_command
@_pictures
@click.option("-n", "count", type=click.IntRange(1), default=64, show_default=True)
@_parameter("sample", "seed")
@_parameter("sample", "truncation")
@_label
def sample(
    bundle: Path,
    device: Device,
    out: Path,
    count: int,
    seed: int | None,
    truncation: float,
    label: str | None,
) -> None:
    """Write images drawn from the model.

    \b
    Example:
        biject sample my-models/digits/1 -n 64 --seed 0 --out grid.png
    """
    with session(bundle, device) as here:
        here.check_pictures(out)
        told = here.label(label)
        seed = draw_seed() if seed is None else seed
        made = here.pair.sample(count, seed=seed, truncation=truncation, label=told)
        here.draw(made, out)
        click.echo(f"seed: {seed}")


@_command
@_images
@_pictures
@_parameter("interpolate", "frames")
@_parameter("interpolate", "path")
@_parameter("interpolate", "exact")
@_parameter("interpolate", "fps")
@_label
def interpolate(
    bundle: Path,
    images: tuple[Path, ...],
    device: Device,
    out: Path,
    frames: int,
    path: Any,
    exact: bool,
    fps: float,
    label: str | None,
) -> None:
    """Write a morph through IMAGES.

    \b
    Example:
        biject interpolate my-models/digits/1 a.png b.png --out morph.webp
    """
    with session(bundle, device) as here:
        here.check_pictures(out)
        told = here.label(label)
        rows = np.concatenate(list(here.source(images)))
        if len(rows) < 2:
            raise Wrong(f"a morph needs at least 2 images, got {len(rows)}")
        morph = here.pair.interpolate(rows, frames=frames, path=path, exact=exact, label=told)
        here.draw(morph, out, moving=True, fps=fps)
