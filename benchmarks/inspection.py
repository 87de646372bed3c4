"""Magnetic tiles, whole frames and patches: told apart by a pair, by PCA and by a forest.

    python -m benchmarks.inspection --data DATA

Trains, exports, calibrates and measures as README has it, once for each seed; a JSON
line for each seed and part in benchmarks/results/inspection.jsonl.  What is there is not measured
again.  `python -m benchmarks.quality --write` takes the figures into docs/quality.md.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from sklearn.ensemble import IsolationForest

from benchmarks.inspection_parts import CONFIG, divide
from benchmarks.inspection_tables import PARTS, tables
from benchmarks.records import Record, Records
from export import frame_figures, frames, parts
from export.subjects import Subject, open_subject
from export.watching import Silent
from export.work import Work
from models.datasets.frames import Frames
from models.metrics.auroc import auroc
from serving.cutting import tiling
from serving.tiles import Tiling

TILE, STRIDE, TERM = 32, 16, "peak"
ROI: Final = "6,6,-6,-6"  # of frames, whose borders are where the part ends
WHOLE: Final = ("choose", "test")  # parts of frames, not of patches
TREES_SEE: Final = 10_000  # parts of frames


@click.command()
@click.option(
    "--data", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
    default=lambda: os.environ.get("BIJECT_DATA", "data"),
    help="Where magnetic-tile/ lies.  [default: $BIJECT_DATA]",
)  # fmt: skip
@click.option("--run", metavar="NAME", default="inspection", help="What these figures go by.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--table", "only_table", is_flag=True, help="Measure nothing.")
def main(data: Path, run: str, seeds: int, only_table: bool) -> None:
    """Measure what is missing of a run, and print its tables."""
    records = Records("inspection", run)
    for seed in range(0 if only_table else seeds):
        missing = [part for part in PARTS if not records.has(seed=seed, part=part)]
        if missing:
            with tempfile.TemporaryDirectory() as folder:
                for part, found in measured(data / "magnetic-tile", seed, missing, Path(folder)):
                    records.append(seed=seed, part=part, **found)
    click.echo(records.told(tables, only_table=only_table, last=True))


def measured(data: Path, seed: int, wanted: list[str], folder: Path) -> list[tuple[str, Record]]:
    """The figures of these parts, of a pair that is trained for them."""
    whole = data / "magnetic_tile_half.zip"
    divide(whole, data / "magnetic_tile_patch64.npz", folder, seed=seed)
    began = time.monotonic()
    run, bundle = folder / "run", folder / "magnetic" / "1"
    _biject("train", CONFIG, "--data", whole, "--out", run, "--set", f"train.seed={seed}")
    trained = round(time.monotonic() - began)
    _biject(
        "export", run, bundle, "--calibrate", whole,
        "--tile", TILE, "--stride", STRIDE, "--roi", ROI, "--by", TERM,
    )  # fmt: skip
    subject = open_subject(bundle)
    found = []
    for part in wanted:
        click.echo(f"seed {seed}: {part}", err=True)
        cut = tiling(
            subject.image, None, tile=TILE, stride=STRIDE, roi=ROI * (part in WHOLE) or None
        )
        assert cut is not None
        figures = {"train_seconds": trained, **told_apart(subject, folder / f"{part}.zip", cut)}
        found.append((part, figures))
    return found


def told_apart(subject: Subject, archive: Path, cut: Tiling) -> Record:
    """What `biject evaluate --tile` says of frames, and what a forest does."""
    watch = Silent()
    crops = frame_figures.CROPS
    data = parts.read(subject, str(archive), limit=None, crops=crops, watch=watch)
    work, test = Work(subject, data, 0, watch), frames.open_frames(subject, str(archive), "test")
    figures = frame_figures.measure(work, test, cut, (frame_figures.GOOD,), limit=None)
    return figures | {"forest": _by_forest(work, test, cut)}


def _by_forest(work: Work, test: Frames, cut: Tiling) -> Mapping[str, Any]:
    """AUROC of all and of each kind by the worst tile (Liu et al. 2008) as scikit-learn has it."""
    assert work.train is not None
    seen = work.train.limited(TREES_SEE).images
    fitted = IsolationForest(random_state=0).fit(seen.reshape(len(seen), -1))
    worst, kinds = [], []
    for i in range(len(test)):
        tiles = frames.cut(test, i, cut).cut(cut)
        worst.append(-fitted.score_samples(tiles.reshape(len(tiles), -1)).min())
        assert test.labels is not None
        kinds.append(test.classes[test.labels[i]])
    scores, names = np.array(worst), np.array(kinds)
    good = names == frame_figures.GOOD
    return {
        "auroc": auroc(normal=scores[good], abnormal=scores[~good]),
        "kinds": {
            str(kind): auroc(normal=scores[good], abnormal=scores[names == kind])
            for kind in sorted(set(names[~good]))
        },
    }


def _biject(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "biject", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
