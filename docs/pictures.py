"""Draw docs/images/morph.png with the model that ships: `python docs/pictures.py`."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs/images"
ROWS = (("bag", "boot"), ("boot", "shirt"), ("shirt", "dress"), ("dress", "trouser"))
FRAMES = 12
ZOOM = 2  # of pixels


def main() -> None:
    """One row per pair of real images; the first and last picture are the images themselves."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for ends in ROWS:
            frames = Path(folder) / "frames.npy"
            files = [str(IMAGES / f"{name}.png") for name in ends]
            bundle = str(ROOT / "serving/bundles/fashion/1")
            command = [sys.executable, "-m", "biject", "interpolate", bundle, *files]
            subprocess.run(
                [*command, "--frames", str(FRAMES), "--out", str(frames)], cwd=ROOT, check=True
            )
            morph = np.load(frames)[..., 0]
            first, last = (np.pad(np.asarray(Image.open(file)), 2) for file in files)
            rows.append(np.concatenate([first, *morph, last], axis=1))
    picture = Image.fromarray(np.concatenate(rows))
    size = (picture.width * ZOOM, picture.height * ZOOM)
    picture.resize(size, Image.Resampling.NEAREST).save(IMAGES / "morph.png", optimize=True)


if __name__ == "__main__":
    main()
