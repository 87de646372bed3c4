"""The verbs without a server: what they write, against numpy's answers, and what they refuse."""

import csv
import io
import json
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from oracle import (
    make_oracle,
    oracle_decode,
    oracle_encode,
    oracle_reconstruct,
    oracle_score,
    oracle_shift,
)
from serving import cli
from serving import latents as latent_space
from serving.bundle import sha256_of

ROOT = Path(__file__).resolve().parents[2]
IMAGES = np.random.default_rng(4).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
CODES = oracle_encode(IMAGES)
TERMS = oracle_score(IMAGES).terms


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three images, one of them in a folder below, and a file that is none."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name, image in zip(("a.png", "b.bmp", "more/c.tiff"), IMAGES, strict=True):
        Image.fromarray(image).save(folder / name)
    (folder / "notes.txt").write_text("no image, and nobody says it is")
    return folder


def run(verb: str, *arguments: Any) -> Result:
    return CliRunner().invoke(getattr(cli, verb), [str(argument) for argument in arguments])


def done(verb: str, *arguments: Any) -> Result:
    result = run(verb, *arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(code: int, words: str, verb: str, *arguments: Any) -> None:
    result = run(verb, *arguments)
    assert result.exit_code == code, result.output
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_encode_writes_figures_in_every_format(
    oracle_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    names = [str(photos / name) for name in ("a.png", "b.bmp", "more/c.tiff")]
    for suffix in (".npy", ".npz", ".json", ".csv", ".parquet"):
        out = tmp_path / "new folder" / f"z{suffix}"
        result = done("encode", oracle_bundle, photos, "--out", out)
        assert result.stdout == f"{out}: latents of 3 images\n"
    folder = tmp_path / "new folder"
    np.testing.assert_allclose(np.load(folder / "z.npy"), CODES, atol=1e-5)
    with np.load(folder / "z.npz") as arrays:
        np.testing.assert_allclose(arrays["latents"], CODES, atol=1e-5)
        assert arrays["files"].tolist() == names
    document = json.loads((folder / "z.json").read_text())
    np.testing.assert_allclose(document["latents"], CODES, atol=1e-5)
    assert (document["files"], document["model"]) == (names, "oracle@1")
    rows = list(csv.DictReader(io.StringIO((folder / "z.csv").read_text())))
    assert [row["file"] for row in rows] == names
    np.testing.assert_allclose([float(row["z47"]) for row in rows], CODES[:, 47], atol=1e-5)
    table = pyarrow.parquet.read_table(folder / "z.parquet")
    assert table.column_names == ["path", "code", "error"]
    np.testing.assert_allclose(table["code"].to_pylist(), CODES, atol=1e-5)
    assert sorted(path.name for path in folder.iterdir()) == [
        *("z.csv", "z.json", "z.npy", "z.npz", "z.parquet")
    ]  # and nothing temporary


def test_figures_can_be_printed(oracle_bundle: Path, photos: Path) -> None:
    document = json.loads(done("encode", oracle_bundle, photos / "a.png", "--json").stdout)
    np.testing.assert_allclose(document["latents"], CODES[:1], atol=1e-5)


def test_score_judges_where_the_bundle_is_calibrated(photos: Path, tmp_path: Path) -> None:
    bundle = make_oracle(tmp_path, calibration={"l1": [i / 1000 for i in range(99)]})
    document = json.loads(done("score", bundle, photos, "--json", "--fpr", "0.5").stdout)
    assert document["by"] == "l1"
    assert document["threshold"] == pytest.approx(0.049)
    for result, row in zip(document["results"], TERMS, strict=True):
        assert result["score"] == pytest.approx(row[0], abs=1e-6)
        assert result["cycle"] == pytest.approx(row[3], abs=1e-6)
        assert result["anomalous"] == (row[0] > 0.049)
        assert 0 < result["p_value"] <= 1
    out = tmp_path / "s.npy"
    result = done("score", bundle, photos, "--by", "l2", "--out", out)
    assert "not calibrated" in result.stderr
    np.testing.assert_allclose(np.load(out), TERMS[:, 1], atol=1e-6)
    done("score", bundle, photos, "--by", "l2", "--out", tmp_path / "s.csv")
    first = next(csv.DictReader(io.StringIO((tmp_path / "s.csv").read_text())))
    assert (first["p_value"], first["anomalous"]) == ("", "")


def test_pictures_in_every_format(oracle_bundle: Path, photos: Path, tmp_path: Path) -> None:
    wanted = oracle_reconstruct(IMAGES)
    for suffix in (".png", ".webp", ".gif", ".zip", ".npy", ".npz", ""):
        done("reconstruct", oracle_bundle, photos, "--out", tmp_path / f"r{suffix}")
    grid = np.asarray(Image.open(tmp_path / "r.png"))
    assert grid.shape == (16, 16, 3)
    np.testing.assert_array_equal(grid[:8, 8:], wanted[1])
    still = Image.open(tmp_path / "r.webp")
    assert getattr(still, "n_frames", 1) == 1
    np.testing.assert_array_equal(np.asarray(still.convert("RGB")), grid)
    np.testing.assert_array_equal(np.load(tmp_path / "r.npy"), wanted)
    with np.load(tmp_path / "r.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], wanted)
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        assert archive.namelist() == ["0000.png", "0001.png", "0002.png"]
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["a.png", "b.png", "c.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "r" / "c.png")), wanted[2])


def test_samples_are_those_of_their_seed(oracle_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.npy"
    result = done("sample", oracle_bundle, "-n", 5, "--seed", 7, "--out", out)
    assert "seed: 7" in result.stdout
    codes = latent_space.sample(7, 5, 48, "normal")
    np.testing.assert_array_equal(np.load(out), oracle_decode(codes))
    done("sample", oracle_bundle, "-n", 70, "--seed", 7, "--out", tmp_path / "more.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "more.npy")[:5], np.load(out))


def test_a_morph_moves(oracle_bundle: Path, photos: Path, tmp_path: Path) -> None:
    arguments = (oracle_bundle, photos / "a.png", photos / "b.bmp", "--frames", 5, "--out")
    done("interpolate", *arguments, tmp_path / "m.webp")
    with Image.open(tmp_path / "m.webp") as morph:
        assert morph.n_frames == 5  # type: ignore[attr-defined]
    done("interpolate", *arguments, tmp_path / "m.npy")
    wanted = oracle_decode(latent_space.path(CODES[:2], 5))
    assert np.abs(np.load(tmp_path / "m.npy").astype(int) - wanted).max() <= 1


def test_an_empty_folder_may_be_written_to_and_a_full_one_not(
    oracle_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    done("sample", oracle_bundle, "-n", 2, "--out", tmp_path / "here")
    refused(2, "not an empty folder", "sample", oracle_bundle, "--out", tmp_path / "here")


def test_files_of_the_same_name_do_not_overwrite_each_other(
    oracle_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    twice = (photos / "a.png", photos / "a.png")
    done("reconstruct", oracle_bundle, *twice, "--out", tmp_path / "two")
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == ["0000-a.png", "0001-a.png"]


def test_unreadable_images_are_all_named_and_nothing_is_written(
    oracle_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "bad.png").write_bytes(b"no image")
    (photos / "cut.png").write_bytes((photos / "a.png").read_bytes()[:60])
    result = run("encode", oracle_bundle, photos, "--out", tmp_path / "z.npy")
    assert result.exit_code == 1
    assert "2 of 5 images cannot be read" in result.stderr
    assert "bad.png: no image" in result.stderr
    assert "cut.png: " in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_wrong_use_is_said_in_a_sentence(oracle_bundle: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "z.npy"
    refused(2, "--out FILE, or --json", "encode", oracle_bundle, photos)
    refused(2, ".npy .npz .json", "encode", oracle_bundle, photos, "--out", tmp_path / "z.txt")
    refused(2, ".png .webp", "sample", oracle_bundle, "--out", tmp_path / "z.jpeg")
    refused(2, "is a folder", "encode", oracle_bundle, photos, "--out", _folder(tmp_path, "z.npy"))
    refused(2, "does not exist", "encode", oracle_bundle, tmp_path / "gone", "--out", out)
    refused(2, "no images in", "encode", oracle_bundle, _folder(tmp_path, "empty"), "--json")
    refused(2, "l1, l2, l2s, cycle", "score", oracle_bundle, photos, "--by", "x", "--json")
    refused(
        2, "at least 2 images", "interpolate", oracle_bundle, photos / "a.png", "--out", "m.gif"
    )
    refused(2, "Missing option", "sample", oracle_bundle)


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir(exist_ok=True)
    return folder


def test_a_device_that_is_not_there_is_refused(
    oracle_bundle: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.engine._gpus", lambda: (0, "there is none"))
    refused(2, "there is none", "encode", oracle_bundle, photos, "--json", "--device", "cuda")


def test_a_damaged_bundle_is_named(photos: Path, tmp_path: Path) -> None:
    bundle = make_oracle(tmp_path / "models")
    data = bytearray((bundle / "encode.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "encode.onnx").write_bytes(data)
    refused(1, "encode.onnx", "encode", bundle, photos, "--out", tmp_path / "z.npy")
    (bundle / "manifest.json").write_text("{")
    refused(1, "manifest.json", "encode", bundle, photos, "--out", tmp_path / "z.npy")
    assert not (tmp_path / "z.npy").exists()


@pytest.mark.parametrize("verb", ["encode", "reconstruct", "score", "sample", "interpolate"])
def test_what_is_no_bundle_is_wrong_use(
    oracle_bundle: Path, photos: Path, tmp_path: Path, verb: str
) -> None:
    images = () if verb == "sample" else (photos,)
    out = ("--out", tmp_path / "z.npy")
    refused(2, "does not exist", verb, tmp_path / "gone", *images, *out)
    refused(2, "is a file", verb, oracle_bundle / "manifest.json", *images, *out)
    refused(2, "is no bundle", verb, oracle_bundle.parent, *images, *out)


def test_a_graph_that_wants_labels_of_no_classes_is_refused(tmp_path: Path) -> None:
    bundle = make_oracle(tmp_path / "models", classes=["cat", "dog"])
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["classes"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    words = "graphs.encode takes labels, but there are no classes"
    refused(1, words, "sample", bundle, "--out", tmp_path / "z.npy")
    refused(2, words, "serve", bundle.parent.parent)


def test_the_class_of_a_conditional_model(
    oracle_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    bundle, out = make_oracle(tmp_path / "models", classes=["cat", "dog"]), tmp_path / "z.npy"
    done("encode", bundle, photos, "--out", out)
    plain = np.load(out)
    for label in ("dog", "1"):
        done("encode", bundle, photos, "--label", label, "--out", out)
        np.testing.assert_allclose(np.load(out), plain - oracle_shift([1] * len(plain)), atol=1e-5)
    refused(2, "no class 'cow'; there are cat, dog", "sample", bundle, "--label", "cow",
            "--out", tmp_path / "a.png")  # fmt: skip
    refused(2, "not conditional", "score", oracle_bundle, photos, "--label", "cat", "--json")


def test_a_graph_that_gives_other_images_than_promised_is_named(tmp_path: Path) -> None:
    bundle = make_oracle(tmp_path / "models")
    larger = make_oracle(tmp_path / "models", name="larger", height=16, width=16, block=4)
    (bundle / "decode.onnx").write_bytes((larger / "decode.onnx").read_bytes())
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["graphs"]["decode"]["sha256"] = sha256_of(bundle / "decode.onnx")
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    refused(1, "decode.onnx: its output images", "sample", bundle, "--out", tmp_path / "z.npy")


def test_flags_have_the_ranges_that_parameters_have(
    oracle_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    out = ("--out", tmp_path / "z.npy")
    for verb, flag, value, words in (
        ("score", "--fpr", "0", "0<x<1"),
        ("score", "--fpr", "1", "0<x<1"),
        ("sample", "--truncation", "0", "0<x<=1"),
        ("sample", "--seed", "-1", "0<=x<=9223372036854775807"),
        ("interpolate", "--frames", "1", "x>=2"),
        ("interpolate", "--path", "detour", "'slerp', 'lerp'"),
    ):
        images = () if verb == "sample" else (photos,)
        refused(2, words, verb, oracle_bundle, *images, flag, value, *out)
    fpr, frames = (
        {parameter.name: parameter.default for parameter in getattr(cli, verb).params}[name]
        for verb, name in (("score", "fpr"), ("interpolate", "frames"))
    )
    assert (fpr, frames) == (0.05, 16)


def test_no_more_threads_decode_than_this_process_may_use(
    oracle_bundle: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, workers: int | None) -> None:
            asked.append(workers)
            super().__init__(workers)

    monkeypatch.setattr("serving.session.ThreadPoolExecutor", Pool)
    monkeypatch.setattr("serving.session.usable_cores", lambda: 77, raising=False)
    done("encode", oracle_bundle, photos, "--json")
    assert 77 in asked


def test_parquet_without_pyarrow_says_what_to_install(
    oracle_bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    out = tmp_path / "z.parquet"
    refused(2, "'.[bulk]'", "encode", oracle_bundle, photos, "--out", out)


def test_what_fails_on_its_way_to_disk_leaves_nothing_behind(
    oracle_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    for name in ("s.png", "s"):
        refused(1, "No space left", "sample", oracle_bundle, "-n", 2, "--out", tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_the_offline_verbs_do_not_wake_bentoml() -> None:
    code = "import sys, serving.cli; print('bentoml' in sys.modules, 'torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout == "False False\n"
