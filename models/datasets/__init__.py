"""Data by path or by name: what `--data` and a config's `data.path` may be.

A folder of images (sub-folders are classes; `train/`, `test/` and the MVTec layout are known),
a .zip of one, an .npz with `images` or `train_images`, an idx file or a folder of them (the MNIST
layout), `digits`, or a density: `toy:NAME`, as toy.py has them.  Images come out as uint8
[N, H, W, C] at the model's size, brought there by `serving.images`, which serves them too.  Vectors
come out as float32 [N, D]: of a density, a CSV with a header, or an .npz with `vectors`, read by
`serving.tables`, as the command line reads them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from models.datasets import archive, builtin, folder, frames, idx, table, toy
from models.datasets.dataset import Dataset, Progress, Skipped, Split, Wanted, silent
from models.datasets.table import WHOLE, Cut
from models.errors import DataError, NoGroups, UnknownName
from serving.images import ImageSpec

__all__ = ["Cut", "Dataset", "Skipped", "load", "load_vectors"]


def load(
    path: str,
    spec: ImageSpec,
    *,
    split: Split = "train",
    limit: int | None = None,
    classes: Sequence[str] | None = None,
    group: str | None = None,
    crops: int = 0,
    progress: Progress = silent,
) -> Dataset:
    """Images at the size of `spec`, with labels where the data has them.

    Args:
        path: What the module's docstring lists.
        spec: The model's image size and how to fit into it.
        split: Data without a test part has only "train".
        limit: At most so many images, spread evenly over the data.
        classes: Only these classes, by name.
        group: The array of an .npz that names the group of each item of the training part.
        crops: Of each image so many random parts of the model's size (models.datasets.frames), in
            the place of the whole; 0: the whole.
        progress: Called with (done, all) as images are read.
    Raises:
        DataError: nothing there, no such part, no such class, or no image can be read; its text
            names what was skipped.
        NoGroups: no such array, or data of another kind.
    """
    only = None if classes is None else tuple(classes)
    if crops:
        at_own_sizes = frames.load(path, spec.channels, split=split, classes=only)
        return frames.crops(at_own_sizes, spec, crops, progress=progress).limited(limit)
    wanted = Wanted(split=split, classes=only, limit=limit, group=group)
    read = _reader(path)
    if group is not None and read is not archive.load_npz:
        raise NoGroups(path, group, "only an .npz can hold them so far")
    return read(path, spec, wanted, progress)


def load_vectors(
    path: str,
    *,
    split: Split = "train",
    limit: int | None = None,
    classes: Sequence[str] | None = None,
    cut: Cut = WHOLE,
    columns: Sequence[str] | None = None,
) -> Dataset:
    """Vectors float32 [N, D] of a toy density or a table, with labels where it has them.

    Args:
        cut: How a table is divided, which column names classes, and which are left out.
        columns: Those of a model that is there already; None: found in the rows wanted.
    Raises:
        DataError: nothing there, no such part, or a cell that is no number.
        UnknownName: no such class.
    """
    if path.startswith(toy.PREFIX):
        if split == "test":
            raise DataError(f"{path} has no test part")
        return toy.load(path.removeprefix(toy.PREFIX)).limited(limit)
    place = Path(path)
    if not place.exists():
        raise DataError(f"no data at {path!r}: neither a path nor toy:ring, toy:grid")
    if not table.is_table(place):
        known = (".csv", ".csv.gz", ".npz", *table.KNOWN)
        raise UnknownName("format of vectors", place.suffix or place.name, known)
    only = None if classes is None else tuple(classes)
    return table.load(path, Wanted(split=split, classes=only, limit=limit), cut, columns)


def _reader(path: str) -> Callable[[str, ImageSpec, Wanted, Progress], Dataset]:
    """The function that reads `path`, found by its form."""
    if path == "digits":
        return builtin.digits
    if path.startswith(toy.PREFIX):
        raise DataError(f"{path} holds vectors: use it with model.vector, not model.image")
    place = Path(path)
    if place.is_dir():
        return idx.load_folder if idx.is_idx_folder(place) else folder.load
    if not place.exists():
        raise DataError(f"no data at {path!r}: neither a path nor digits nor toy:NAME")
    suffix = place.suffix.lower()
    if suffix == ".zip":
        return archive.load_zip
    if suffix == ".npz":
        return archive.load_npz
    if idx.is_idx_name(place.name):
        return idx.load_file
    raise UnknownName("data format", suffix or place.name, (".zip", ".npz", "idx", "a folder"))
