"""What the shipped model was not trained on."""

import gzip
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest


@pytest.fixture(scope="session")
def fashion() -> npt.NDArray[np.uint8]:
    """Fashion-MNIST's test images, [10000, 28, 28]."""
    path = Path(os.environ.get("BIJECT_DATA", "data")) / "fashion-mnist/t10k-images-idx3-ubyte.gz"
    if not path.is_file():
        pytest.skip(f"no {path}: set BIJECT_DATA")
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16).reshape(
        -1, 28, 28
    )
