"""A bundle opened in this process answers as the server does, on whatever holds an image."""

import asyncio
import io
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import serving
from http_api.conftest import served
from oracle import make_oracle, oracle_decode, oracle_encode, oracle_reconstruct, oracle_score
from serving import LocalPair, open_bundle
from serving.errors import BundleError, ServingError, Unprocessable
from serving.settings import Settings

ROOT = Path(__file__).parents[2]
Array = npt.NDArray[Any]
RNG = np.random.default_rng(7)
BATCH = RNG.integers(0, 256, (5, 8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def pair(oracle_bundle: Path) -> LocalPair:
    return open_bundle(str(oracle_bundle), device="cpu")


def test_arrays_in_arrays_out(pair: LocalPair) -> None:
    codes = pair.encode(BATCH)
    np.testing.assert_allclose(codes, oracle_encode(BATCH), atol=1e-6)
    np.testing.assert_array_equal(pair.decode(codes), oracle_decode(codes))
    np.testing.assert_array_equal(pair.decode(codes[0].tolist()), oracle_decode(codes[:1]))
    rebuilt = pair.reconstruct(BATCH)
    np.testing.assert_array_equal(rebuilt.items, oracle_reconstruct(BATCH))
    scored = pair.score(BATCH, by="l2")
    np.testing.assert_allclose(scored.terms, oracle_score(BATCH).terms, atol=1e-6)
    assert (scored.by, scored.column) == ("l2", 1)
    assert pair.device == "cpu"


def test_an_image_is_a_path_bytes_a_picture_or_pixels(pair: LocalPair, tmp_path: Path) -> None:
    picture = Image.fromarray(RNG.integers(0, 256, (20, 30, 3), np.uint8))
    path = tmp_path / "image.png"
    picture.save(path)
    wanted = pair.encode(path)
    assert wanted.shape == (1, 48)
    for same in (str(path), path.read_bytes(), picture, Image.open(path), np.asarray(picture)):
        np.testing.assert_array_equal(pair.encode(same), wanted)
    mixed = pair.encode([str(path), BATCH[0], picture])
    np.testing.assert_array_equal(mixed[[0, 2]], np.concatenate([wanted, wanted]))
    np.testing.assert_allclose(mixed[1:2], oracle_encode(BATCH[:1]), atol=1e-6)


def test_grey_images_need_no_channel_axis(tmp_path: Path) -> None:
    with open_bundle(make_oracle(tmp_path, channels=1)) as grey:
        batch = BATCH[..., 0]
        wanted = oracle_encode(batch[..., np.newaxis])
        np.testing.assert_allclose(grey.encode(batch), wanted, atol=1e-6)
        np.testing.assert_allclose(grey.encode(batch[1]), wanted[1:2], atol=1e-6)


def test_it_answers_as_the_server_does(oracle_models: Path, pair: LocalPair) -> None:
    with served(Settings(models=oracle_models)) as running:

        def npy(verb: str, body: bytes = b"", **parameters: str) -> Array:
            answer = running.client.post(
                f"/v1/models/oracle/{verb}",
                params=parameters,
                content=body,
                headers={"Content-Type": "application/x-npy", "Accept": "application/x-npy"},
            )
            assert answer.status_code == 200, answer.text
            found: Array = np.load(io.BytesIO(answer.content))
            return found

        two = _npy(BATCH[:2])
        np.testing.assert_array_equal(npy("encode", two), pair.encode(BATCH[:2]))
        np.testing.assert_array_equal(
            npy("sample", n="3", seed="5", truncation="0.7"),
            pair.sample(3, seed=5, truncation=0.7),
        )
        np.testing.assert_array_equal(
            npy("interpolate", two, frames="5", path="lerp"),
            pair.interpolate(BATCH[:2], frames=5, path="lerp"),
        )
        np.testing.assert_array_equal(
            npy("vary", _npy(BATCH[:1]), n="2", seed="3", strength="0.5"),
            pair.vary(BATCH[0], n=2, seed=3, strength=0.5),
        )
        many = np.tile(BATCH, (4, 1, 1, 1))[:16]
        np.testing.assert_array_equal(
            npy("interpolate", _npy(many), frames="3", exact="true"),
            pair.interpolate(many, frames=3, exact=True),
        )
        np.testing.assert_array_equal(npy("reconstruct", two), pair.reconstruct(BATCH[:2]).items)


def test_it_can_be_asked_where_an_event_loop_runs(pair: LocalPair) -> None:
    async def notebook() -> Array:
        return pair.sample(1, seed=1)

    np.testing.assert_array_equal(asyncio.run(notebook()), pair.sample(1, seed=1))


def test_what_is_no_good_is_said_and_named(pair: LocalPair, tmp_path: Path) -> None:
    with pytest.raises(Unprocessable, match="No such file") as caught:
        pair.encode([BATCH[0], tmp_path / "none.png", b"nonsense"])
    assert [item.index for item in caught.value.items] == [1, 2]
    for wrong, words in (
        (lambda: pair.encode(BATCH[0].astype(np.float32)), "uint8"),
        (lambda: pair.encode([]), "no images"),
        (lambda: pair.encode([cast(Path, object())]), "object is no image"),
        (lambda: pair.decode(np.zeros((2, 3))), r"\[N, 48\]"),
        (lambda: pair.decode(np.full(48, np.nan)), "finite"),
        (lambda: pair.decode("words"), "48 numbers"),
        (lambda: pair.interpolate(BATCH[:1]), "2 to 16 items, got 1"),
        (lambda: pair.interpolate(np.tile(BATCH, (4, 1, 1, 1))[:17]), "2 to 16 items, got 17"),
        (lambda: pair.interpolate(BATCH[:2], fps=5), "'fps'; known: frames, path, exact, label$"),
        (lambda: pair.vary(BATCH), "1 item"),
        (lambda: pair.sample(0), "n must be at least 1"),
        (lambda: pair.sample(1, sed=3), "unknown parameter"),
        (lambda: pair.score(BATCH, by="l3"), "by must be one of"),
    ):
        with pytest.raises(ServingError, match=words):
            wrong()


def test_a_bundle_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read"):
        open_bundle(tmp_path)


def test_importing_the_room_loads_next_to_nothing() -> None:
    code = "import serving, sys; print(*sorted(m for m in sys.modules if m.startswith('serving')))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.split() == ["serving"]
    code = "import serving, sys; serving.open_bundle; print('starlette' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.split() == ["False"], run.stderr
    with pytest.raises(AttributeError, match="no attribute 'opened'"):
        _ = serving.opened


def _npy(array: Array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
