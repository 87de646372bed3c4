"""Spaces to compare images in: pixels, codes, hidden layers, and networks that others bring.

A distance between samples and real images is one of features, so each figure names them.  It is
called FID by nobody here: whoever gives an Inception network as a file reads its name.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime

from export.errors import BadData
from export.work import Work
from models.metrics import classifier, random_encoder
from models.networks.labelled import told

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[Any]

STATISTICS: Final = 2000  # images that set a random encoder's BatchNorm
ROWS: Final = 64  # images per call of a network from a file
GREY_TO_RGB: Final = 3  # channels that a grey image is repeated to


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """Features, and how to call them."""

    key: str  # in report.json
    name: str  # "Frechet distance in ..."
    encode: Callable[[Images], Floats]  # uint8 [N, H, W, C] to [N, D]


def spaces(work: Work, given: Space | None) -> Iterator[Space]:
    """The spaces that there are for this subject and data, and the one that is `given`."""
    yield Space(key="pixels", name="raw pixels", encode=as_pixels)
    yield Space(key="codes", name="codes E(x)", encode=work.encode)
    yield from hidden(work)
    judge = work.judge
    if judge is not None:
        yield Space(
            key="classifier",
            name="classifier features",
            encode=lambda images: classifier.features(judge, images),
        )
    if given is not None:
        yield given


def from_file(file: Path, shape: tuple[int, int, int]) -> Space:
    """The features of an ONNX network that takes uint8 images [N, H, W, C] of this shape.

    A network of RGB images gets grey ones repeated.  Raises BadData for another network.
    """
    return Space(key="file", name=f"features of {file.name}", encode=_opened(file, shape))


def as_pixels(images: Images) -> Floats:
    """The pixels in [0, 1], [N, H W C]; vectors [N, D] as they are."""
    if images.ndim == 2:
        return images.astype(np.float32)
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def hidden(work: Work) -> Iterator[Space]:
    """E's last hidden layer, and that of an E with random weights; for runs only."""
    pair = work.subject.pair
    if pair is None:
        return
    encoder = told(pair.encoder, None)
    yield Space(
        key="hidden",
        name="E's last hidden layer",
        encode=lambda images: random_encoder.hidden_features(encoder, images),
    )
    fresh = work.subject.fresh_encoder(work.seed)
    if fresh is not None:
        known = work.train if work.train is not None else work.test
        settled = random_encoder.with_fresh_statistics(fresh, known.limited(STATISTICS).images)
        yield Space(
            key="random_hidden",
            name="an untrained E's last hidden layer",
            encode=lambda images: random_encoder.hidden_features(settled, images),
        )


def _opened(file: Path, shape: tuple[int, int, int]) -> Callable[[Images], Floats]:
    """The network in `file` as a function of images of this shape.

    Raises BadData: no ONNX network, or one that takes other images.
    """
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            file, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has a class of its own for each way to fail
        raise BadData(f"{file} is no ONNX network: {str(error).splitlines()[0]}") from error
    given = session.get_inputs()
    takes = given[0].shape if len(given) == 1 and given[0].type == "tensor(uint8)" else []
    channels = GREY_TO_RGB if takes[3:] == [GREY_TO_RGB] else shape[2]
    fits = len(takes) == 4 and all(
        isinstance(wanted, str | None) or wanted == size
        for wanted, size in zip(takes[1:], (*shape[:2], channels), strict=False)
    )
    if not fits:
        found = ", ".join(f"{each.name} {each.type} {each.shape}" for each in given)
        raise BadData(f"{file} must take uint8 images [N, {_said(shape)}], but it takes {found}")
    name = given[0].name

    def encode(images: Images) -> Floats:
        if shape[2] == 1 and channels == GREY_TO_RGB:
            images = images.repeat(GREY_TO_RGB, axis=3)
        parts = [
            session.run(None, {name: images[i : i + ROWS]})[0] for i in range(0, len(images), ROWS)
        ]
        found = np.concatenate(parts)
        return found.reshape(len(found), -1)

    return encode


def _said(shape: tuple[int, int, int]) -> str:
    return ", ".join(map(str, shape))
