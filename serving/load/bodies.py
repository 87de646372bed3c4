"""Requests to a verb of a model: what the model takes, made from image files or out of nothing."""

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.errors import ServingError
from serving.images import FOLDER_FORMATS, FOLDER_SUFFIXES, ImageSpec, decode

Body = Literal["jpeg", "png", "npy", "json"]
BODIES: Final[tuple[Body, ...]] = get_args(Body)
_VARIETY: Final = 64  # different requests, sent in turn
_BOUNDARY: Final = "biject-load-7d1f"
FORM_TYPE: Final = f"multipart/form-data; boundary={_BOUNDARY}"
_QUALITY: Final = 90
_LATENT_VERBS: Final = ("decode",)
_EMPTY_VERBS: Final = ("sample",)
Rows = npt.NDArray[Any]


class BadBody(ValueError):
    """The verb takes no such body; the message says which it takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What a model takes, as `GET /v1/models/{model}` tells it."""

    spec: ImageSpec | None  # None: a model of vectors
    vector: int  # numbers in one; 0 for a model of images
    latent: int

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Taken":
        """Raises ValueError if this is no description of a model."""
        try:
            latent = int(document["latent"]["size"])
            if "image" not in document:
                return cls(spec=None, vector=int(document["vector"]["size"]), latent=latent)
            image = document["image"]
            height, width, channels = (int(image[k]) for k in ("height", "width", "channels"))
            spec = ImageSpec(height=height, width=width, channels=channels)
            return cls(spec=spec, vector=0, latent=latent)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no description of a model: {error} is missing or wrong") from error


@dataclass(frozen=True, slots=True)
class Payload:
    """The body of a request and its Content-Type."""

    content_type: str
    body: bytes


def payloads(
    taken: Taken, verb: str, *, body: Body | None, batch: int, folder: Path | None
) -> list[Payload]:
    """Bodies for the verb, different ones, to be sent in turn.

    Args:
        taken: What the model takes.
        verb: Its name.
        body: Its format; None: JPEG for images, npy for what is no image.
        batch: Images in each request; above 1, JPEG and PNG go as a form.
        folder: Image files to send, at the model's size; None: noise, softened, from a seed.
    Raises:
        BadBody: the verb takes no such body, or `folder` holds no image.
    """
    if verb in _EMPTY_VERBS:
        return [Payload("application/json", json.dumps({"n": batch}).encode())]
    numbers = verb in _LATENT_VERBS or taken.spec is None
    if numbers and body not in (None, "npy", "json"):
        raise BadBody(f"{verb} of this model takes numbers, as npy or json, not {body}")
    if numbers or taken.spec is None:
        size = taken.latent if verb in _LATENT_VERBS else taken.vector
        key = "latents" if verb in _LATENT_VERBS else "vectors"
        rows = np.random.default_rng(0).standard_normal((_VARIETY, batch, size), np.float32)
        return [_of_numbers(one, key, body) for one in rows]
    images = _cut(_images(taken.spec, folder), batch)
    return [_of_images(one, body or "jpeg") for one in images]


def _images(spec: ImageSpec, folder: Path | None) -> Rows:
    """[N, H, W, C] of the model's size."""
    if folder is None:
        return synthetic(spec)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in FOLDER_SUFFIXES)
    found: list[Rows] = []
    for path in files:
        try:
            found.append(decode(path.read_bytes(), spec, formats=FOLDER_FORMATS))
        except (OSError, ServingError) as error:
            raise BadBody(f"{path}: {error}") from error
        if len(found) == _VARIETY:
            break
    if not found:
        raise BadBody(f"no images in {folder}")
    return np.stack(found)


def synthetic(spec: ImageSpec) -> Rows:
    """Noise of a few pixels' grain, so that JPEG and PNG have something to compress."""
    draw = np.random.default_rng(0)
    small = draw.integers(0, 256, (_VARIETY, 5, 5, spec.channels), dtype=np.uint8)
    size = (spec.width, spec.height)
    pictures = [Image.fromarray(one.squeeze()).resize(size) for one in small]
    return np.stack([np.asarray(one, np.uint8).reshape(spec.shape) for one in pictures])


def _cut(images: Rows, batch: int) -> Iterator[Rows]:
    """Batches of this many, each beginning one image later than the one before."""
    for start in range(len(images)):
        yield images[[(start + i) % len(images) for i in range(batch)]]


def _of_numbers(rows: Rows, key: str, body: Body | None) -> Payload:
    if body == "json":
        return Payload("application/json", json.dumps({key: rows.tolist()}).encode())
    return Payload("application/x-npy", npy(rows))


def _of_images(images: Rows, body: Body) -> Payload:
    if body == "npy":
        return Payload("application/x-npy", npy(images))
    if body == "json":
        files = [base64.b64encode(image_file(one, "png")).decode() for one in images]
        uris = [f"data:image/png;base64,{file}" for file in files]
        return Payload("application/json", json.dumps({"images": uris}).encode())
    if len(images) == 1:
        return Payload(f"image/{body}", image_file(images[0], body))
    return Payload(FORM_TYPE, form([image_file(one, body) for one in images], body))


def form(files: Sequence[bytes], kind: str) -> bytes:
    """Image files as one form, whose Content-Type is `FORM_TYPE`."""
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="{i}.{kind}"\r\n'
        f"Content-Type: image/{kind}\r\n\r\n".encode()
        + file
        + b"\r\n"
        for i, file in enumerate(files)
    ]
    return b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode()


def image_file(image: Rows, kind: str) -> bytes:
    """An image, [H, W, C], as a JPEG or PNG file."""
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    file = io.BytesIO()
    picture.save(file, kind.upper(), **({"quality": _QUALITY} if kind == "jpeg" else {}))
    return file.getvalue()


def npy(rows: Rows) -> bytes:
    """An array as an npy file."""
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()
