"""The magnetic tiles (Huang et al. 2018) in the parts that benchmarks.inspection measures on.

Archives in the MVTec layout, with the train/good of the given one, of which the first two leave out
what training holds out:

| archive            | test                                                              |
|--------------------|-------------------------------------------------------------------|
| choose.zip         | held-out frames, and those of every fourth tile with a defect     |
| choose-patches.zip | the patches of 64x64 pixels that are cut from those               |
| test.zip           | the given test without what choose.zip has of it                  |
| patches.zip        | the patches cut from frames of the given test, without those too  |

A tile stands in up to six frames, each exposed longer than the one before, numbered on: all of its
frames are on one side.
"""

import io
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

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
        raise ValueError(f"{name} is no frame of the magnetic tiles")
    return int(match[2]), int(match[1]), name


def chosen_by(files: Iterable[str]) -> set[str]:
    """The frames of the test, with and without a defect, whose tile is one that is chosen by."""
    frames_of_test = [name for name in files if name.startswith("test/")]
    tiles = tiles_of(frames_of_test)
    defective = sorted({tiles[name] for name in tiles if not name.startswith("test/good/")})
    return {name for name, tile in tiles.items() if tile in defective[::EVERY]}


def parts(whole: Mapping[str, bytes], held_out: Iterable[str]) -> dict[str, Files]:
    """`choose` and `test`, from the files of the archive; `held_out` are names in train/good."""
    chosen, held_out = chosen_by(whole), set(held_out)
    stems = {_below(name) for name in chosen}
    both: dict[str, Files] = {"choose": {}, "test": {}}
    for name, data in whole.items():
        if name.startswith("train/"):
            both["test"][name] = data
            good = f"test/good/{Path(name).name}"
            both["choose"][good if name in held_out else name] = data
            continue
        stem = _below(name).removesuffix("_mask")
        if stem not in stems:
            both["test"][name] = data
        elif not stem.startswith("good/"):
            both["choose"][name] = data
    return both


def _below(name: str) -> str:
    """The kind and the name of a frame or its mask, without what is above and the suffix."""
    return "/".join(Path(name).with_suffix("").parts[1:])


def patches(arrays: Mapping[str, npt.NDArray[Any]], whole: Files, *, parted: Files) -> Files:
    """The patches of the frames that are in test/ of `parted`, and train/ of that.

    Args:
        arrays: `train_images`, `train_name`, the same of the test, its kinds and masks.
        whole: The files of the archive of frames, which say where normal patches are from.
        parted: One of `parts`.
    """
    stems = {Path(name).stem for name in parted if name.startswith("test/")}
    files = {name: data for name, data in parted.items() if name.startswith("train/")}
    of_train = {Path(name).stem for name in whole if name.startswith("train/")}
    for name, image in zip(arrays["train_name"], arrays["train_images"], strict=True):
        if (stem := str(name).split("@")[0]) in stems and stem in of_train:
            files[f"test/good/{_file(name)}"] = _png(image)
    columns = (arrays[key] for key in ("test_name", "test_class", "test_images", "test_mask"))
    for name, kind, image, mask in zip(*columns, strict=True):
        if str(name).split("@")[0] not in stems:
            continue
        files[f"test/{kind}/{_file(name)}"] = _png(image)
        if kind != "good":
            marked = np.unpackbits(mask)[: image.size].reshape(image.shape) * np.uint8(255)
            files[f"ground_truth/{kind}/{_file(name)}"] = _png(marked)
    return files


def _file(name: Any) -> str:
    return f"{str(name).replace('@', '_at_').replace(',', '_')}.png"


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


def divide(frames_file: Path, patches_file: Path, out: Path, *, seed: int) -> None:
    """Write the archives to `out`; a training of this seed says what is held out."""
    with zipfile.ZipFile(frames_file) as archive:
        top = single_top([name for name in archive.namelist() if not name.endswith("/")])
        names = [name for name in archive.namelist() if re.search(r"\.(jpg|png)$", name)]
        files = {name.removeprefix(top): archive.read(name) for name in names}
    config = Config.read(CONFIG, [f"data.path={frames_file}", f"train.seed={seed}"])
    groups = read_data(config).held_out(config.data.holdout, config.train.seed)[1].groups
    known = frames.load(str(frames_file), 1).names
    held_out = [known[i] for i in np.unique(groups)] if groups is not None else []
    divided = parts(files, held_out)
    with np.load(patches_file) as arrays:
        divided["choose-patches"] = patches(arrays, files, parted=divided["choose"])
        divided["patches"] = patches(arrays, files, parted=divided["test"])
    out.mkdir(parents=True, exist_ok=True)
    for each, found in divided.items():
        with zipfile.ZipFile(out / f"{each}.zip", "w") as archive:
            for name in sorted(found):
                archive.writestr(name, found[name])
