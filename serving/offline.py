"""The verbs without a server: a bundle and image files in, one file out."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from serving import files, flags
from serving.cutting import cutting, tiling
from serving.engine import Device
from serving.files import Figures
from serving.latents import draw_seed
from serving.region import Box
from serving.results import Scored
from serving.session import Session, Wrong, session


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


@flags.command
@flags.images
@flags.figures
@flags.json
@flags.ray
@flags.verbose
@flags.label
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


@flags.command
@flags.images
@flags.figures
@flags.json
@click.option("--by", metavar="TERM", help="Term of the score.  [default: the bundle's]")
@flags.parameter("score", "fpr")
@flags.ray
@flags.verbose
@flags.label
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


@flags.command
@flags.images
@flags.pictures
@flags.parameter("reconstruct", "refine")
@flags.ray
@flags.verbose
@flags.label
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


@flags.command
@flags.pictures
@click.option("-n", "count", type=click.IntRange(1), default=64, show_default=True)
@flags.parameter("sample", "seed")
@flags.parameter("sample", "truncation")
@flags.label
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


@flags.command
@flags.images
@flags.pictures
@flags.parameter("interpolate", "frames")
@flags.parameter("interpolate", "path")
@flags.parameter("interpolate", "exact")
@flags.parameter("interpolate", "fps")
@flags.label
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
