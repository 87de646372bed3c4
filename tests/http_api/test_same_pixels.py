"""Training and serving see the same pixels: odd files read from a folder and sent over HTTP."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from models.config import Config
from models.datasets import load
from models.training.loop import image_spec
from odd_files import HTTP_SOUND, REFUSED, Sound
from oracle import make_oracle

FITS = ("stretch", "crop", "pad")
CHANNELS = (1, 3)


@pytest.fixture(scope="module")
def mirrors(
    tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., AbstractContextManager[Any]]
) -> Iterator[httpx.Client]:
    """A server of models with one latent number per pixel: G(E(x)) is x as the server sees it."""
    folder = tmp_path_factory.mktemp("mirrors")
    for fit in FITS:
        for channels in CHANNELS:
            preprocess = {"fit": fit, "filter": "lanczos", "background": 9}
            make_oracle(
                folder, name=f"{fit}{channels}", channels=channels, block=1, preprocess=preprocess
            )
    with serve(models=folder, default=None) as running:
        yield running.client


@pytest.mark.parametrize("sound", HTTP_SOUND, ids=lambda sound: sound.name)
def test_a_file_trains_and_serves_as_the_same_array(
    mirrors: httpx.Client, tmp_path: Path, sound: Sound
) -> None:
    (tmp_path / "one.png").write_bytes(sound.data)  # the bytes decide what it is
    for fit in FITS:
        for channels in CHANNELS:
            config = Config.from_dict(
                {
                    "data": {"fit": fit, "background": 9},
                    "model": {"image": [8, 8, channels]},
                }
            )
            trained = load(str(tmp_path), image_spec(config)).images
            answer = mirrors.post(
                f"/v1/models/{fit}{channels}/reconstruct",
                content=sound.data,
                headers={"Content-Type": "image/png", "Accept": "application/x-npy"},
            )
            assert answer.status_code == 200, answer.text
            np.testing.assert_array_equal(np.load(BytesIO(answer.content)), trained)


def test_what_is_refused_over_http_is_skipped_in_training(tmp_path: Path) -> None:
    for i, refused in enumerate(REFUSED):
        (tmp_path / f"bad{i:03}.png").write_bytes(refused.data)
    (tmp_path / "good.png").write_bytes(HTTP_SOUND[0].data)
    spec = image_spec(Config.from_dict({"model": {"image": [8, 8, 3]}}))
    data = load(str(tmp_path), spec)
    assert len(data) == 1
    assert [s.name for s in data.skipped] == [f"bad{i:03}.png" for i in range(len(REFUSED))]
    assert all(s.reason for s in data.skipped)
