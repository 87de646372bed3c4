"""`biject export`, `evaluate` and `calibrate`: a run to a bundle, and what either is worth."""

import functools
import json
import shlex
from collections.abc import Iterator, Mapping
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import click

from export import bundle_writer, calibration, frames, report, store, tables, trained_on
from export import evaluate as evaluation
from export.commands import one_sentence, placing, say_parity, say_place
from export.destination import destination
from export.errors import BadOutput
from export.runs import facts_of, pair_of, preprocess_of
from export.subjects import Subject, open_subject
from export.watching import Terminal
from models.training.checkpoint import load_pair
from serving.cutting import cutting, tiling
from serving.tiles import Tiling


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("out", metavar="[OUT]", type=click.Path(path_type=Path), required=False)
@placing
@click.option(
    "--precision", type=click.Choice(["fp32"]), default="fp32", show_default=True,
    help="Of the weights and of the arithmetic.",
)  # fmt: skip
@click.option(
    "--calibrate", "data", metavar="D",
    help="Judge scores by those of the normal images of D; of the training data, by those "
    "that training held out.",
)  # fmt: skip
@click.option(
    "--critic", is_flag=True,
    help="Let the run's critic judge too: its weights travel, score terms feature and critic.",
)  # fmt: skip
@click.option("--by", metavar="TERM", help="The term that judges, where it is calibrated.")
@cutting
def export(
    run: Path,
    out: Path | None,
    name: str | None,
    version: int | None,
    to_store: bool,
    precision: str,
    data: str | None,
    critic: bool,
    by: str | None,
    tile: int | None,
    stride: int | None,
    roi: str | None,
) -> None:
    """Write the bundle OUT (.../NAME/VERSION) from the latest checkpoint of RUN.

    With --store it goes into BentoML's model store, in place of OUT or besides.

    The graphs are compared with torch before OUT comes to exist.

    With --calibrate the options --by, --tile, --stride and --roi are those of biject calibrate.

    \b
    Example:
        biject export runs/digits my-models/digits/1 --calibrate digits
        biject export runs/tiles my-models/tiles/1 --calibrate frames --tile 64
        biject serve my-models
    """
    with (
        one_sentence(),
        store.placed(out, name=name, version=version, to_store=to_store) as place,
    ):
        trained = load_pair(run, judged=critic)
        target = [str(out)] if out is not None else ["--store", "--name", place.name]
        command = ["biject", "export", str(run), *target]
        command += ["--critic"] * critic
        of_calibration = {"--by": by, "--tile": tile, "--stride": stride, "--roi": roi}
        given = {option: value for option, value in of_calibration.items() if value is not None}
        if given and data is None:
            raise BadOutput(f"{', '.join(given)} is of a calibration: it wants --calibrate as well")
        hashes, calibrate = trained_on.of_run(run), None
        if data is not None:
            command += ["--calibrate", data]
            command += [str(part) for option in given.items() for part in option]
            watch, subject = Terminal(), open_subject(run)
            asked = tiling(subject.image, None, tile=tile, stride=stride, roi=roi)
            normal = _normal(subject, data, asked, watch=watch)
            hashes = normal.hashes if hashes is None else hashes
            calibrate = functools.partial(calibration.calibrate, normal=normal, by=by, watch=watch)

        if hashes is None:
            _say(["the run has no hashes of its images: calibration will not notice them"])
        manifest = bundle_writer.write(
            pair_of(trained),
            place,
            preprocess=preprocess_of(trained),
            facts=facts_of(trained, command=shlex.join(command))
            | {"biject": installed_version("biject")},
            hashes=hashes,
            calibrate=calibrate,
            say=lambda line: click.echo(line, err=True),
        )
    say_parity(manifest, "torch")
    say_place(place, out, to_store=to_store)


@click.command()
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--data", metavar="D", required=True,
    help="Normal images the model never saw; of the training data, what training held out.",
)  # fmt: skip
@click.option(
    "--out", metavar="OUT", type=click.Path(path_type=Path), required=True,
    help="The new version, .../NAME/VERSION: bundles never change in place.",
)  # fmt: skip
@click.option("--by", metavar="TERM", help="The term that judges unless a request names another.")
@click.option("--force", is_flag=True, help="Take images that the model was trained on, too.")
@cutting
def calibrate(
    bundle: Path,
    data: str,
    out: Path,
    by: str | None,
    force: bool,
    tile: int | None,
    stride: int | None,
    roi: str | None,
) -> None:
    """Write a new version of BUNDLE that judges scores by those of normal images.

    A score then comes with a p-value: the share of normal images that are at least as abnormal.
    From 150 images on, a third of them, at most 2,000, become neighbours that the terms
    mahalanobis, knn and combined compare an image's code with.

    With --tile images are cut, at their own sizes, into tiles of the model's size, and p-values are
    those of whole images that are cut so.

    \b
    Example:
        biject calibrate my-models/fashion/1 --data fashion-mnist --out my-models/fashion/2
        biject calibrate my-models/tiles/1 --data frames --tile 64 --out my-models/tiles/2
    """
    with one_sentence():
        subject, place, watch = open_subject(bundle), destination(out), Terminal()
        if subject.opened is None:
            raise BadOutput(f"{bundle} is a run: biject export {bundle} OUT --calibrate {data}")
        asked = tiling(subject.image, None, tile=tile, stride=stride, roi=roi)
        normal = _normal(subject, data, asked, force=force, watch=watch)
        bundle_writer.rewrite(
            subject.opened,
            place,
            hashes=normal.hashes,
            calibrate=functools.partial(calibration.calibrate, normal=normal, by=by, watch=watch),
        )
    click.echo(str(out))


@click.command()
@click.argument("subject", metavar="RUN_OR_BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--data", metavar="D", required=True, help="What it was trained for: a folder, .zip, .npz, ..."
)
@click.option("--against", metavar="D2", help="What it was not: to be told apart by score.")
@click.option(
    "--normal", metavar="CLASS", multiple=True,
    help="A class of D that is normal, all others being abnormal; may be given again.",
)  # fmt: skip
@click.option(
    "--features", metavar="FILE.onnx", type=click.Path(path_type=Path),
    help="Compare samples in the features of this network too: uint8 images [N, H, W, C] in.",
)  # fmt: skip
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
    help="Write report.json, report.html and pictures there.",
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
    help="Of samples, of the classifier and of all other draws.",
)  # fmt: skip
@cutting
def evaluate(
    subject: Path,
    data: str,
    against: str | None,
    normal: tuple[str, ...],
    features: Path | None,
    out: Path | None,
    as_json: bool,
    write: Path | None,
    limit: int | None,
    seed: int,
    tile: int | None,
    stride: int | None,
    roi: str | None,
) -> None:
    """Measure RUN_OR_BUNDLE on images or vectors, beside PCA, raw pixels and a random encoder.

    With --tile whole frames are told apart, and their pixels where D has masks (the MVTec layout);
    all else is measured on random parts of them.

    \b
    Example:
        biject evaluate my-models/fashion/1 --data fashion-mnist --against mnist --out report
        biject evaluate my-models/tiles/2 --data frames --tile 64
    """
    with one_sentence():
        measured = open_subject(subject)
        place = destination(write) if write is not None else None
        if place is not None and measured.opened is None:
            raise BadOutput(f"--write takes a bundle, and {subject} is a run: export it first")
        asked = evaluation.Asked(
            data=data,
            against=against,
            normal=normal,
            features=features,
            limit=limit,
            seed=seed,
            tiling=tiling(measured.image, _tiles_of(measured), tile=tile, stride=stride, roi=roi),
        )
        found = evaluation.evaluate(measured, asked, watch=Terminal())
        click.echo(json.dumps(found.figures) if as_json else tables.text(found.figures))
        if out is not None:
            report.save(found, out)
            click.echo(f"report.html, report.json and pictures are in {out}", err=True)
        if place is not None and measured.opened is not None:
            bundle_writer.rewrite(measured.opened, place, changes={"quality": found.figures})
            click.echo(f"wrote {write}", err=True)


def _normal(
    subject: Subject, data: str, asked: Tiling | None, *, force: bool = False, watch: Terminal
) -> calibration.Normal | frames.NormalFrames:
    """What of `data` may calibrate, images or frames to be cut; says what there is to know."""
    normal: calibration.Normal | frames.NormalFrames
    if asked is None:
        normal = calibration.normal_images(subject, data, force=force, watch=watch)
    else:
        normal = calibration.normal_frames(subject, data, asked, force=force, watch=watch)
    _say(normal.notes)
    return normal


def _tiles_of(subject: Subject) -> Mapping[str, Any] | None:
    """How the frames were cut that calibrated a bundle."""
    return None if subject.opened is None else subject.opened.manifest.score.tiles


def _say(notes: Iterator[str] | list[str] | tuple[str, ...]) -> None:
    for note in notes:
        click.echo(note, err=True)
