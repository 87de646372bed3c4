"""Frames cut into tiles as the server cuts them: which ones may calibrate, and what they score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from export import parts
from export.errors import BadData
from export.runs import name_of
from export.subjects import Subject
from export.trained_on import Hashes
from export.watching import Silent
from models.datasets import Dataset, frames
from models.datasets.dataset import Split
from models.datasets.frames import Frames
from models.errors import DataError, UnknownName
from serving import tiles
from serving.errors import ServingError
from serving.tiles import Frame, Tiling, Whole

Floats = npt.NDArray[np.float32]
Images = npt.NDArray[np.uint8]

MAX_PIXELS: Final = 16_000_000  # of heat that quantiles are taken of: bounds memory


@dataclass(frozen=True, kw_only=True, slots=True)
class NormalFrames:
    """Normal frames to calibrate with."""

    frames: Frames
    rows: list[int]  # which of them
    tiling: Tiling
    source: str  # where they are from, for the manifest
    hashes: Hashes | None  # of what was trained on, where it is known
    notes: tuple[str, ...] = ()  # what whoever asked for this should know, a sentence each

    def tiles(self, rows: Sequence[int], most: int) -> Images:
        """The tiles of those frames, at most so many, evenly spread."""
        found = np.concatenate([cut(self.frames, i, self.tiling).cut(self.tiling) for i in rows])
        return found[np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(np.intp)]


def open_frames(subject: Subject, data: str, split: Split) -> Frames:
    """The frames of one part, of the classes trained on where the data has those.

    Raises DataError as `models.datasets.frames.load` does.
    """
    assert subject.image is not None  # or there would be no tiling
    channels = subject.image.channels
    own = subject.config.data.classes if subject.config is not None and split == "train" else None
    try:
        return frames.load(data, channels, split=split, classes=own)
    except UnknownName:
        return frames.load(data, channels, split=split)


def normal_frames(
    subject: Subject, data: str, tiling: Tiling, *, watch: Silent
) -> tuple[NormalFrames, Dataset | None]:
    """The frames of `data` to calibrate with, and parts of them that training may have seen.

    Of the very data of a training on crops those that it held out; else all of the training part,
    with the parts that a training on crops would have taken.
    Raises:
        BadData: too few frames, or none held out.
        DataError: `data` cannot be read.
    """
    found = open_frames(subject, data, "train")
    source, rows, hashes = name_of(data), list(range(len(found))), subject.hashes
    crops = _crops(subject, data, watch)
    notes = []
    if crops is None:
        notes.append("the model was not trained on crops: whether on parts of these is not known")
    else:
        known = parts.split_of_training(subject, crops)
        if known is not None:
            source, crops = f"{source}: {parts.HELD_OUT}", known[1]
            hashes = known[0].hashes()
            if not len(crops):
                raise BadData(f"training held nothing of {data} out: give frames it never saw")
        rows = [] if crops.groups is None else np.unique(crops.groups).tolist()
    if len(rows) < 2:
        raise BadData(f"{data} has {len(rows)} frame to calibrate with: at least 2 are needed")
    normal = NormalFrames(
        frames=found, rows=rows, tiling=tiling, source=source, hashes=hashes, notes=tuple(notes)
    )
    return normal, crops


def cut(found: Frames, i: int, tiling: Tiling) -> Frame:
    """Frame i, and where its tiles are.  Raises BadData where it cannot be read or cut so."""
    try:
        pixels = found.read(i)
        return Frame(pixels=pixels, places=tiling.places(*pixels.shape[:2]))
    except DataError as error:
        raise BadData(f"{found.names[i]}: {error}") from error
    except ServingError as error:
        raise BadData(f"{found.names[i]}: {error.detail}") from error


def look(subject: Subject, frame: Frame, tiling: Tiling) -> tuple[Floats, Floats]:
    """The terms [T] of a frame, the worst of its tiles by each, and its heat [h, w]."""
    terms, heat = subject.run("score", frame.cut(tiling), watch=Silent())[:2]
    whole = Whole.of(tiles.Frames(tiling, [frame]), terms, 0)
    return whole.terms[0], frame.stitched(heat, tiling)


def measure(
    subject: Subject, normal: NormalFrames, rows: Sequence[int], *, watch: Silent
) -> tuple[npt.NDArray[np.float64], Floats]:
    """The terms [N, T] of these frames, and the heat of their pixels, of evenly spread ones where
    all would not fit into memory."""
    scores, heats = [], []
    for row in watch.track(rows, "score"):
        terms, heat = look(subject, cut(normal.frames, row, normal.tiling), normal.tiling)
        scores.append(terms)
        step = 1 + heat.size * len(rows) // MAX_PIXELS
        heats.append(heat.ravel()[::step])
    return np.array(scores, np.float64), np.concatenate(heats)


def _crops(subject: Subject, data: str, watch: Silent) -> Dataset | None:
    """What training cut from frames, of this data; None where it took whole images."""
    if subject.config is None or not subject.config.data.crops:
        return None
    whole, reason = parts.read_part(subject, data, "train", watch)
    if whole is None:
        raise DataError(reason)
    return whole
