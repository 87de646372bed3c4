"""What lands in a Parquet file: the answers that HTTP gives, and a reason where there is none."""

import base64
import errno
import gzip
import io
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from bulk.runs import pictures
from oracle import TERMS, make_oracle, oracle_encode, oracle_reconstruct, oracle_score
from poison import make_poisonous, poisoned
from server_process import running
from serving import cli
from serving.bulk import limits
from serving.errors import InputError
from serving.inputs import listed
from serving.local import open_bundle

IMAGES = pictures(6)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated oracle."""
    folder = tmp_path_factory.mktemp("models")
    make_oracle(folder, calibration={"l1": [i / 1000 for i in range(99)]})
    return folder


@pytest.fixture(scope="module")
def url(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running("bare", models, tmp_path_factory.mktemp("log") / "log") as server:
        yield f"{server.url}/v1/models/oracle"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good files in order, and some that are none."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    (folder / "b").mkdir(parents=True)
    for name, image in zip(("a.png", "b/1.png", "b/2.jpg", "c.webp"), IMAGES, strict=False):
        Image.fromarray(image).resize((16, 16)).save(folder / name)
    (folder / "b" / "3.png").write_bytes(b"no image")
    (folder / "d.png").write_bytes((folder / "a.png").read_bytes()[:80])
    (folder / "e.png").symlink_to(folder / "gone.png")  # no file, so nobody asked for it
    (folder / ".f.png").write_bytes(b"hidden")
    (folder / "notes.txt").write_text("nor is this one asked for")
    return folder


def run(verb: str, *arguments: Any) -> Result:
    return CliRunner().invoke(getattr(cli, verb), [str(argument) for argument in arguments])


def rows(verb: str, bundle: Path, *arguments: Any) -> list[dict[str, Any]]:
    """The answer's rows; nothing else may be left."""
    out: Path = arguments[-1]
    result = run(verb, bundle, *arguments[:-1], "--out", out)
    assert result.exit_code == 0, result.output
    assert not out.with_name(f"{out.name}.parts").exists()
    assert [path for path in out.parent.iterdir() if path.name.startswith(".")] == []
    found: list[dict[str, Any]] = pq.read_table(out).to_pylist()
    return found


def asked(url: str, path: str) -> Any:
    answer = httpx.post(url, files={"images": Path(path).read_bytes()}, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_answers_are_those_of_http(
    models: Path, url: str, photos: Path, tmp_path: Path
) -> None:
    bundle = models / "oracle" / "1"
    names = ["a.png", "b/1.png", "b/2.jpg", "b/3.png", "c.webp", "d.png"]
    bad = {"b/3.png", "d.png"}
    codes = rows("encode", bundle, photos, tmp_path / "codes.parquet")
    scores = rows("score", bundle, photos, "--fpr", 0.5, tmp_path / "scores.parquet")
    made = rows("reconstruct", bundle, photos, "--refine", 1, tmp_path / "made.parquet")
    assert [row["path"] for row in codes] == [str(photos / name) for name in names]
    for name, code, score, back in zip(names, codes, scores, made, strict=True):
        if name in bad:
            for row in (code, score, back):
                path, error = row.pop("path"), row.pop("error")
                assert path == str(photos / name)
                assert "image" in error
                assert set(row.values()) == {None}
            continue
        assert code["error"] is score["error"] is back["error"] is None
        wanted = asked(f"{url}/encode", code["path"])["latents"][0]
        np.testing.assert_allclose(code["code"], wanted, atol=1e-6)
        (judged,) = asked(f"{url}/score?fpr=0.5", code["path"])["results"]
        for key in ("score", "p_value"):
            assert score[key] == pytest.approx(judged[key], abs=1e-6)
        assert score["anomalous"] is judged["anomalous"]
        for term, value in judged["terms"].items():
            assert score[term] == pytest.approx(value, abs=1e-6)
        again = asked(f"{url}/reconstruct?refine=1", code["path"])
        assert back["l1"] == pytest.approx(again["l1"][0], abs=1e-6)
        np.testing.assert_allclose(back["code"], again["latents"][0], atol=1e-6)
        picture = base64.b64decode(again["images"][0].partition(",")[2])
        np.testing.assert_array_equal(_pixels(back["image"]), _pixels(picture))


def _pixels(png: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_zips_and_arrays_are_read_too(oracle_bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for name, image in zip(("top/b.png", "top/a.bmp", "__MACOSX/a.png"), IMAGES, strict=False):
            data = io.BytesIO()
            Image.fromarray(image).save(data, "BMP" if name.endswith("bmp") else "PNG")
            packed.writestr(name, data.getvalue())
        packed.writestr("top/c.png", b"no image")
        packed.writestr("top/notes.txt", b"none")
    np.savez_compressed(tmp_path / "a.npz", labels=np.arange(6), train_images=IMAGES)
    given = (tmp_path / "p.zip", tmp_path / "a.npz")
    found = rows("encode", oracle_bundle, *given, tmp_path / "z.parquet")
    members = ["p.zip/top/a.bmp", "p.zip/top/b.png", "p.zip/top/c.png"]
    members += [f"a.npz/{i}" for i in range(6)]
    assert [row["path"] for row in found] == [str(tmp_path / name) for name in members]
    assert found.pop(2)["error"].startswith("no image")
    wanted = oracle_encode(np.concatenate([IMAGES[[1, 0]], IMAGES]))
    np.testing.assert_allclose([row["code"] for row in found], wanted, atol=1e-5)
    # and so they are where answers are small
    result = run("encode", oracle_bundle, tmp_path / "a.npz", "--out", tmp_path / "z.npy")
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), wanted[2:], atol=1e-5)


def test_mnists_files_are_read_too(oracle_bundle: Path, tmp_path: Path) -> None:
    """A folder of them, packed and not; labels are no images."""
    folder = tmp_path / "d"
    folder.mkdir()
    grey = IMAGES[:3, :, :, 0]
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(grey))
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES)))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(6))))
    (tmp_path / "cut.idx").write_bytes(idx(IMAGES)[:-1])
    found = rows("encode", oracle_bundle, folder, tmp_path / "cut.idx", tmp_path / "z.parquet")
    names = [f"d/t10k-images-idx3-ubyte/{i}" for i in range(3)]
    names += [f"d/train-images-idx3-ubyte.gz/{i}" for i in range(6)]
    names += [f"cut.idx/{i}" for i in range(6)]
    assert [row["path"] for row in found] == [str(tmp_path / name) for name in names]
    assert found.pop()["error"]
    assert not any(row["error"] for row in found)
    shown = np.concatenate([np.repeat(grey[..., np.newaxis], 3, axis=3), IMAGES, IMAGES[:5]])
    np.testing.assert_allclose([row["code"] for row in found], oracle_encode(shown), atol=1e-5)


def test_what_is_no_file_of_images_is_refused_in_a_sentence(
    oracle_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels-idx1-ubyte").write_bytes(idx(np.arange(6)))
    (tmp_path / "empty.idx").write_bytes(b"")
    for words, name in {
        "digits is made for training and is no file": "digits",
        "toy:ring is made for training and is no file": "toy:ring",
        "labels-idx1-ubyte cannot be read as idx": tmp_path / "labels-idx1-ubyte",
        "empty.idx cannot be read as idx": tmp_path / "empty.idx",
    }.items():
        result = run("encode", oracle_bundle, name, "--out", tmp_path / "z.parquet")
        assert result.exit_code == 2, result.output
        assert words in result.output
    assert not list(tmp_path.glob("z.*"))


def idx(array: npt.NDArray[Any]) -> bytes:
    """An idx file of unsigned bytes."""
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize(("shape", "why"), [((1, 9_000, 9_000), "limit"), ((1, 2, 2, 9), "c 1")])
def test_an_array_packs_no_image_that_a_file_may_not_hold(
    oracle_bundle: Path, tmp_path: Path, shape: tuple[int, ...], why: str
) -> None:
    """Zeros pack a thousandfold, and a row is read whole."""
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros(shape, np.uint8))
    result = run("encode", oracle_bundle, tmp_path / "a.npz", "--out", tmp_path / "z.npy")
    assert result.exit_code == 2
    assert why in result.stderr
    assert not (tmp_path / "z.npy").exists()


def test_reconstructions_are_pictures_in_a_column(oracle_bundle: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=IMAGES)
    found = rows("reconstruct", oracle_bundle, tmp_path / "a.npz", tmp_path / "z.parquet")
    made = np.stack([_pixels(row["image"]) for row in found])
    np.testing.assert_array_equal(made, oracle_reconstruct(IMAGES))


def test_a_name_that_is_no_text_is_escaped(oracle_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    data = io.BytesIO()
    Image.fromarray(IMAGES[0]).save(data, "PNG")
    try:
        Path(f"{tmp_path}/odd/a\udcff\n.png").write_bytes(data.getvalue())
    except OSError:
        pytest.skip("names are text here")
    (row,) = rows("encode", oracle_bundle, tmp_path / "odd", tmp_path / "z.parquet")
    assert row["path"] == f"{tmp_path}/odd/a\\udcff\n.png"
    assert row["error"] is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
def test_a_link_to_itself_and_a_pipe_are_named_and_spoil_no_other(
    oracle_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "b.png").write_bytes((photos / "a.png").read_bytes())
    (folder / "a.png").symlink_to(folder / "a.png")
    (folder / "up").symlink_to(folder)  # for ever, for who follows it
    os.mkfifo(folder / "pipe.png")  # nobody will write into it
    given = (folder, folder / "pipe.png", tmp_path / "z.parquet")
    found = {Path(row["path"]).name: row["error"] for row in rows("encode", oracle_bundle, *given)}
    assert found == {
        "a.png": os.strerror(errno.ELOOP),
        "b.png": None,
        "pipe.png": "no regular file",
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
@pytest.mark.parametrize("name", ["a.zip", "a.npz", "images-idx3-ubyte"])
def test_an_archive_that_is_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="no regular file"):
        next(iter(listed([tmp_path / name])))


def test_folders_may_lie_deeper_than_python_calls(tmp_path: Path) -> None:
    depth = sys.getrecursionlimit() + 50
    deepest = tmp_path
    try:
        for _ in range(depth):
            deepest /= "d"
            deepest.mkdir()
        (deepest / "a.png").touch()
        assert [one.file for one in listed([tmp_path])] == [str(deepest / "a.png")]
    finally:  # those who tidy up recurse, too
        (deepest / "a.png").unlink(missing_ok=True)
        while deepest != tmp_path:
            deepest.rmdir()
            deepest = deepest.parent


def test_how_fast_it_was_is_said_beside_its_limits(
    oracle_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_SECONDS", 0.02)
    np.savez(tmp_path / "a.npz", images=pictures(2000))
    out = tmp_path / "z.parquet"
    result = run("encode", oracle_bundle, tmp_path / "a.npz", "--verbose", "--out", out)
    assert result.exit_code == 0, result.output
    said = re.fullmatch(
        r"([\d,]+) images/s; the engine alone ([\d,]+) \(([\d.]+) of it\), decoding alone ([\d,]+) "
        r"\(([\d.]+) of it\), both together at most ([\d,]+) \(([\d.]+) of it\)",
        result.stdout.splitlines()[-1],
    )
    assert said is not None, result.stdout
    rate, engine, of_engine, decoders, of_decoders, both, of_both = (
        float(number.replace(",", "")) for number in said.groups()
    )
    assert both == pytest.approx(1 / (1 / engine + 1 / decoders), rel=0.01)
    assert of_engine == pytest.approx(rate / engine, abs=0.01)
    assert of_decoders == pytest.approx(rate / decoders, abs=0.01)
    assert of_both == pytest.approx(rate / both, abs=0.01)


def test_a_gpu_shares_no_cores_with_those_who_decode() -> None:
    on_a_gpu = limits.Limits(engine=300, decoders=600, shared=False)
    assert on_a_gpu.said(150) == (
        "150 images/s; the engine alone 300 (0.50 of it), decoding alone 600 (0.25 of it), "
        "both together at most 300 (0.50 of it)"
    )


def test_an_image_that_the_engine_fails_on_spoils_no_other(tmp_path: Path) -> None:
    bundle = make_poisonous(tmp_path / "models")
    images = poisoned(pictures(300), 7, 290)
    np.savez(tmp_path / "a.npz", images=images)
    found = rows("encode", bundle, tmp_path / "a.npz", tmp_path / "z.parquet")
    assert [i for i, row in enumerate(found) if row["error"] is not None] == [7, 290]
    assert found[7]["error"].startswith("the engine failed on it: ")
    good = np.delete(np.arange(300), [7, 290])
    wanted = oracle_encode(images)[good]
    np.testing.assert_allclose([found[i]["code"] for i in good], wanted, atol=1e-5)


def test_an_engine_that_fails_on_every_image_ends_the_run(tmp_path: Path) -> None:
    bundle = make_poisonous(tmp_path / "models")
    np.savez(tmp_path / "a.npz", images=poisoned(pictures(20), *range(20)))
    result = run("encode", bundle, tmp_path / "a.npz", "--out", tmp_path / "z.parquet")
    assert result.exit_code == 1
    assert "on each of 20 images" in result.stderr
    assert not (tmp_path / "z.parquet").exists()


def test_images_that_cannot_be_read_at_all_are_an_answer(
    oracle_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    result = run("score", oracle_bundle, tmp_path / "a.png", "--out", tmp_path / "z.parquet")
    assert result.exit_code == 0, result.output
    assert "scores of 0 images, 1 more cannot be read" in result.stdout
    (row,) = pq.read_table(tmp_path / "z.parquet").to_pylist()
    assert row["error"] == "no image: zero bytes"


def test_wrong_use_is_said_in_a_sentence_and_leaves_nothing(
    oracle_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "not.zip").write_bytes(b"PK no")
    np.savez(tmp_path / "floats.npz", images=np.zeros((2, 8, 8)))
    np.savez(tmp_path / "none.npz", other=IMAGES)
    before = sorted(tmp_path.iterdir())
    out = ("--out", tmp_path / "z.parquet")
    for words, arguments in {
        "no images in": (tmp_path / "empty", *out),
        "not.zip cannot be read as a zip": (tmp_path / "not.zip", *out),
        "must be uint8 [N, h, w]": (tmp_path / "floats.npz", *out),
        "it has no array images or train_images": (tmp_path / "none.npz", *out),
        "--ray goes with --out FILE.parquet": (photos, "--ray", "local", "--json"),
        "--verbose goes with": (photos, "--verbose", "--out", tmp_path / "z.npy"),
        "--json prints what is small": (photos, "--json", *out),
        "leave out --ray": (photos, "--ray", "local", "--verbose", *out),
    }.items():
        result = run("encode", oracle_bundle, *arguments)
        assert result.exit_code == 2, result.output
        assert words in result.stderr
        assert (result.stdout, sorted(tmp_path.iterdir())) == ("", before)
    result = run("score", oracle_bundle, photos, "--by", "x", *out)
    assert (result.exit_code, "--by must be one of l1" in result.stderr) == (2, True)


def test_what_an_extra_is_missing_for_is_said(
    oracle_bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "ray" else object()
    )
    result = run("encode", oracle_bundle, photos, "--ray", "local", "--out", tmp_path / "z.parquet")
    assert result.exit_code == 2
    assert "'.[ray]'" in result.stderr


def test_a_label_tells_a_conditional_model_the_class(
    models: Path, photos: Path, tmp_path: Path
) -> None:
    bundle = make_oracle(tmp_path, name="told", classes=("cat", "dog"))
    out = tmp_path / "out"
    out.mkdir()
    (plain,) = rows("encode", bundle, photos / "a.png", out / "plain.parquet")
    (told,) = rows("encode", bundle, photos / "a.png", "--label", "dog", out / "told.parquet")
    (same,) = pair_codes(bundle, photos / "a.png", label="dog")
    np.testing.assert_allclose(told["code"], same, atol=1e-6)
    assert np.abs(np.subtract(told["code"], plain["code"])).max() > 0.1
    for folder, label, words in (
        (bundle, "cow", "no class 'cow'; there are cat, dog"),
        (models / "oracle" / "1", "dog", "is not conditional"),
    ):
        result = run("encode", folder, photos, "--label", label, "--out", out / "no.parquet")
        assert result.exit_code == 2
        assert words in result.output


def pair_codes(bundle: Path, file: Path, **parameters: Any) -> Any:
    with open_bundle(bundle, device="cpu") as pair:
        return pair.encode(file, **parameters)


def test_tiles_are_not_for_parquet(models: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "z.parquet"
    result = run("score", models / "oracle" / "1", photos, "--tile", 8, "--out", out)
    assert result.exit_code == 2
    assert "--tile, --stride and --roi go with another --out than .parquet" in result.output
    assert not list(tmp_path.iterdir())


def test_frames_in_archives_are_cut_at_their_own_sizes(models: Path, tmp_path: Path) -> None:
    frames = np.random.default_rng(8).integers(0, 256, (2, 16, 24, 3), np.uint8)
    np.savez(tmp_path / "frames.npz", images=frames)
    with zipfile.ZipFile(tmp_path / "frames.zip", "w") as archive:
        for i, frame in enumerate(frames):
            file = io.BytesIO()
            Image.fromarray(frame).save(file, "PNG")
            archive.writestr(f"{i}.png", file.getvalue())
    tiles = frames.reshape(2, 2, 8, 3, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(12, 8, 8, 3)
    worst = oracle_score(tiles)[0][:, TERMS.index("l1")].reshape(2, 6).max(axis=1)
    for name in ("frames.npz", "frames.zip"):
        arguments = (tmp_path / name, "--tile", 8, "--by", "l1", "--json")
        result = run("score", models / "oracle" / "1", *arguments)
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        listed = [one["l1"] for one in found["results"]]
        np.testing.assert_allclose(listed, worst, atol=1e-5)
