"""Draw the morphs in docs/images with the models that ship: `python docs/pictures.py`."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

ROOT: Final = Path(__file__).resolve().parents[1]
IMAGES: Final = ROOT / "docs/images"
Pixels = npt.NDArray[np.uint8]


class Picture(NamedTuple):
    """A row per pair of images; the first and the last picture of each are the images."""

    bundle: str
    rows: tuple[tuple[str, str], ...]
    frames: int
    mode: str
    border: int  # pixels that the model's size has more, on each side
    zoom: int


PICTURES: Final = {
    "morph.png": Picture(
        bundle="fashion/1",
        rows=(("bag", "boot"), ("boot", "shirt"), ("shirt", "dress"), ("dress", "trouser")),
        frames=12,
        mode="L",
        border=2,
        zoom=2,
    ),
    "emoji-morph.png": Picture(
        bundle="emoji/1",
        rows=(("cat", "fox"), ("fox", "pizza"), ("pizza", "sunglasses"), ("sunglasses", "earth")),
        frames=10,
        mode="RGB",
        border=0,
        zoom=1,
    ),
}


def main() -> None:
    """Every picture, from `biject interpolate`."""
    for name, picture in PICTURES.items():
        whole = Image.fromarray(np.concatenate([row(picture, *ends) for ends in picture.rows]))
        size = (whole.width * picture.zoom, whole.height * picture.zoom)
        whole.resize(size, Image.Resampling.NEAREST).save(IMAGES / name, optimize=True)


def row(picture: Picture, *ends: str) -> Pixels:
    """An image, its morph into the other, and that, side by side."""
    files = [IMAGES / f"{name}.png" for name in ends]
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "frames.npy"
        bundle = ROOT / "serving/bundles" / picture.bundle
        command = [sys.executable, "-m", "biject", "interpolate", bundle, *files]
        subprocess.run(
            [*command, "--frames", str(picture.frames), "--out", frames], cwd=ROOT, check=True
        )
        morph = np.load(frames)
    if picture.mode == "L":
        morph = morph[..., 0]
    first, last = (_real(file, picture) for file in files)
    pixels: Pixels = np.concatenate([first, *morph, last], axis=1)
    return pixels


def _real(file: Path, picture: Picture) -> Pixels:
    pixels = np.asarray(Image.open(file).convert(picture.mode))
    sides = [(picture.border, picture.border)] * 2 + [(0, 0)] * (pixels.ndim - 2)
    return np.pad(pixels, sides)


if __name__ == "__main__":
    main()
