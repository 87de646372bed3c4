"""The magnetic tiles (Huang et al. 2018) in the parts that docs/evaluation.md measures on.

    python -m benchmarks.inspection magnetic_tile.zip magnetic_tile_patch64.npz OUT

writes three archives in the MVTec layout, all with the train/good of the first:

| archive     | test                                                                              |
|-------------|-----------------------------------------------------------------------------------|
| choose.zip  | frames that training holds out, and those of every fourth tile with a defect      |
| test.zip    | the given test without what choose.zip has of it                                  |
| patches.zip | the patches of 64x64 pixels, cut from frames of the given test, without those too |

A tile stands in up to six frames, each exposed longer than the one before, numbered on: all of its
frames are on one side.
"""

import io
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import numpy.typing as npt
from PIL import Image

from models.config import Config
from models.datasets import frames
from models.datasets.archive import single_top
from models.training.loop import read_data

CONFIG: Final = Path("models/configs/magnetic.toml")
EVERY: Final = 4  # tiles with a defect, one of which is chosen by
NUMBERED: Final = re.compile(r"exp(\d)_num_(\d+)")
GAP: Final = 60  # more than this from one frame's number to the next: another tile
Files = dict[str, bytes]


def tiles_of(names: Iterable[str]) -> dict[str, int]:
    """Which tile each frame shows: a run of rising exposures in order of number."""
    found: dict[str, int] = {}
    tile, before = -1, (9, 0)
    for number, exposure, name in sorted(_numbers(name) for name in names):
        tile += exposure <= before[0] or number - before[1] > GAP
        found[name], before = tile, (exposure, number)
    return found


def _numbers(name: str) -> tuple[int, int, str]:
    match = NUMBERED.search(name)
    if match is None:
        raise click.UsageError(f"{name} is no frame of the magnetic tiles")
    return int(match[2]), int(match[1]), name


def chosen_by(files: Iterable[str]) -> set[str]:
    """The frames of the test, with and without a defect, whose tile is one that is chosen by."""
    frames_of_test = [name for name in files if name.startswith("test/")]
    tiles = tiles_of(frames_of_test)
    defective = sorted({tiles[name] for name in tiles if not name.startswith("test/good/")})
    return {name for name, tile in tiles.items() if tile in defective[::EVERY]}


def parts(whole: Mapping[str, bytes], held_out: Iterable[str]) -> dict[str, Files]:
    """`choose` and `test`, from the files of the archive; `held_out` are names in train/good."""
    chosen = chosen_by(whole)
    stems = {"/".join(Path(name).with_suffix("").parts[1:]) for name in chosen}
    both: dict[str, Files] = {"choose": {}, "test": {}}
    for name, data in whole.items():
        if name.startswith("train/"):
            both["choose"][name] = both["test"][name] = data
            continue
        stem = "/".join(Path(name).with_suffix("").parts[1:]).removesuffix("_mask")
        if stem not in stems:
            both["test"][name] = data
        elif not stem.startswith("good/"):
            both["choose"][name] = data
    for name in held_out:
        both["choose"][f"test/good/{Path(name).name}"] = whole[name]
    return both


def patches(arrays: Mapping[str, npt.NDArray[Any]], without: set[str]) -> Files:
    """test/ and ground_truth/ of the patches that are not cut from frames named so."""
    stems = {Path(name).stem for name in without}
    files: Files = {}
    columns = (arrays[key] for key in ("test_name", "test_class", "test_images", "test_mask"))
    for name, kind, image, mask in zip(*columns, strict=True):
        if str(name).split("@")[0] in stems:
            continue
        file = f"{str(name).replace('@', '_at_').replace(',', '_')}.png"
        files[f"test/{kind}/{file}"] = _png(image)
        if kind != "good":
            marked = np.unpackbits(mask)[: image.size].reshape(image.shape) * np.uint8(255)
            files[f"ground_truth/{kind}/{file}"] = _png(marked)
    return files


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


def _write(file: Path, files: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name in sorted(files):
            archive.writestr(name, files[name])


@click.command()
@click.argument("whole", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("patched", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
def main(whole: Path, patched: Path, out: Path) -> None:
    """Divide the magnetic tiles of WHOLE and their patches of PATCHED into archives in OUT."""
    with zipfile.ZipFile(whole) as archive:
        top = single_top([name for name in archive.namelist() if not name.endswith("/")])
        names = [name for name in archive.namelist() if re.search(r"\.(jpg|png)$", name)]
        files = {name.removeprefix(top): archive.read(name) for name in names}
    config = Config.read(CONFIG, [f"data.path={whole}"])
    groups = read_data(config).held_out(config.data.holdout, config.train.seed)[1].groups
    known = frames.load(str(whole), 1).names
    held_out = [known[i] for i in np.unique(groups)] if groups is not None else []
    out.mkdir(parents=True, exist_ok=True)
    both = parts(files, held_out)
    with np.load(patched) as arrays:
        both["patches"] = patches(arrays, chosen_by(files)) | {
            name: data for name, data in files.items() if name.startswith("train/")
        }
    for name, found in both.items():
        _write(out / f"{name}.zip", found)
        click.echo(f"{out / name}.zip: {sum(each.startswith('test/') for each in found)} to test")


if __name__ == "__main__":
    main()
