"""`biject calibrate` and `export --calibrate`: which images are taken, and what is kept of them."""

import json
import shutil
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from bars import bars, config
from biject import main
from export import bundle_writer, calibration, trained_on
from export.errors import BadData, BadOutput
from export.subjects import open_subject
from export.watching import Silent
from models.datasets.dataset import Dataset
from models.training.loop import HASHES, read_data
from oracle import make_oracle
from serving.bundle import read
from serving.engine import Engine

TERMS = ("l1", "l2", "l2s", "peak", "blob", "cycle", "ssim", "prior")


def biject(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def split(folder: Path) -> tuple[Dataset, Dataset]:
    """What training took and what it held out, as training splits it."""
    chosen = config(folder / "single.npz")
    return read_data(chosen).held_out(chosen.data.holdout, chosen.train.seed)


def scores(bundle: Path, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    terms, heat = Engine(read(bundle), device="cpu").run("score", [images])
    return terms.astype(np.float64), heat


def found(bundle: Path) -> dict[str, object]:
    value = json.loads((bundle / "manifest.json").read_text())["score"]["calibration"]
    assert isinstance(value, dict)
    return value


def images(path: Path, *arrays: np.ndarray) -> Path:
    np.savez(
        path, images=np.concatenate(arrays)[..., 0] if arrays else np.empty((0, 16, 16), np.uint8)
    )
    return path


def test_export_takes_exactly_what_training_held_out(bundle: Path, folder: Path) -> None:
    kept = found(bundle)
    terms, heat = scores(bundle, split(folder)[1].images)
    assert kept["count"] == 30
    assert kept["source"] == "single.npz: what training held out"
    assert kept["scores"] == {name: sorted(terms[:, i].tolist()) for i, name in enumerate(TERMS)}
    assert kept["heat"] == {
        "images": 30,
        "quantiles": {
            f"{q:g}": pytest.approx(np.quantile(heat, q)) for q in (0.5, 0.9, 0.99, 0.999)
        },
    }
    assert read(bundle).manifest.score.calibration["l1"].tolist() == sorted(terms[:, 0].tolist())
    card = (bundle / "card.md").read_text()
    assert "judged by those of 30 normal images (single.npz: what training held out)" in card
    training = json.loads((bundle / "manifest.json").read_text())["training"]
    assert training["export"] == "biject export bars bars/1 --calibrate single.npz"


def test_hashes_of_the_training_images_travel(bundle: Path, run: Path, folder: Path) -> None:
    trained, held_out = split(folder)
    hashes = trained_on.of_bundle(read(bundle))
    assert hashes is not None
    wanted = [
        int.from_bytes(blake2b(x.tobytes(), digest_size=8).digest(), "little")
        for x in trained.images
    ]
    assert hashes.tolist() == sorted(wanted)
    assert (bundle / "hashes.npy").stat().st_size == 128 + 8 * 90
    assert np.array_equal(hashes, np.load(run / HASHES))
    assert trained_on.count_among(trained, hashes) == 90
    assert trained_on.count_among(held_out, hashes) == 0


def test_calibrate_makes_a_new_version_and_leaves_the_old_one(
    bundle: Path, folder: Path, tmp_path: Path
) -> None:
    before = {file.name: file.read_bytes() for file in bundle.iterdir()}
    fresh = images(tmp_path / "fresh.npz", bars(25, seed=7)[0][..., None])
    out = tmp_path / "bars" / "2"
    result = biject("calibrate", bundle, "--data", fresh, "--out", out)
    assert (result.exit_code, result.stdout) == (0, f"{out}\n"), result.output
    assert {file.name: file.read_bytes() for file in bundle.iterdir()} == before
    opened = read(out, name="bars", version=2)
    terms, _ = scores(bundle, bars(25, seed=7)[0][..., None])
    cycle = terms[:, opened.manifest.score.terms.index("cycle")]
    assert opened.manifest.score.calibration["cycle"].tolist() == sorted(cycle.tolist())
    assert (found(out)["count"], found(out)["source"]) == (25, "fresh.npz")
    assert trained_on.of_bundle(opened) is not None
    again = tmp_path / "bars" / "3"
    assert biject("calibrate", out, "--data", folder / "single.npz", "--out", again).exit_code == 0
    assert found(again) == found(bundle)


def test_images_that_were_trained_on_are_noticed(
    bundle: Path, folder: Path, tmp_path: Path
) -> None:
    trained, _ = split(folder)
    mixed = images(tmp_path / "mixed.npz", bars(20, seed=7)[0][..., None], trained.images[:5])
    arguments = ("calibrate", bundle, "--data", mixed, "--out", tmp_path / "bars" / "2")
    refused = biject(*arguments)
    assert refused.exit_code == 2
    assert f"5 of the 25 images of {mixed} were trained on" in refused.stderr
    assert not (tmp_path / "bars").exists()
    forced = biject(*arguments, "--force")
    assert forced.exit_code == 0, forced.output
    assert "flagged more often than asked" in forced.stderr
    assert found(tmp_path / "bars" / "2")["count"] == 25


def test_a_run_of_before_has_no_hashes(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in run.iterdir():
        if part.name != HASHES:
            (tmp_path / part.name).symlink_to(part)
    given: list[object] = []

    def stop(*_: object, **options: object) -> None:
        given.append(options["hashes"])
        raise BadOutput("stopped here")

    monkeypatch.setattr(bundle_writer, "write", stop)
    result = biject("export", tmp_path, tmp_path / "bars" / "1")
    assert "the run has no hashes" in result.stderr
    assert given == [None]
    (tmp_path / HASHES).write_bytes(b"\x93NUM")  # cut short by a kill
    assert trained_on.of_run(tmp_path) is None


def test_a_bundle_of_before_gets_its_hashes_from_the_data(
    bundle: Path, run: Path, folder: Path, tmp_path: Path
) -> None:
    plain, calibrated = tmp_path / "bars" / "1", tmp_path / "bars" / "2"
    copied(bundle, plain)
    (plain / "hashes.npy").unlink()
    assert trained_on.of_bundle(read(plain)) is None
    result = biject("calibrate", plain, "--data", folder / "single.npz", "--out", calibrated)
    assert result.exit_code == 0, result.output
    hashes = trained_on.of_bundle(read(calibrated))
    assert hashes is not None
    assert np.array_equal(hashes, np.load(run / HASHES))


def copied(bundle: Path, to: Path, *, hashes: object = None) -> None:
    """A copy whose manifest says so of its hashes; None: nothing."""
    shutil.copytree(bundle, to)
    manifest = json.loads((to / "manifest.json").read_text())
    manifest["training"]["hashes"] = hashes
    (to / "manifest.json").write_text(json.dumps(manifest))


def test_a_bundle_made_elsewhere_cannot_say_what_it_was_trained_on(tmp_path: Path) -> None:
    oracle = make_oracle(tmp_path, height=16, width=16, channels=1, block=4)
    fresh = images(tmp_path / "fresh.npz", bars(25, seed=7)[0][..., None])
    result = biject("calibrate", oracle, "--data", fresh, "--out", tmp_path / "oracle" / "2")
    assert result.exit_code == 0, result.output
    assert "whether it was trained on these cannot be said" in result.stderr


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([np.zeros((1, 16, 16), np.uint8)], "has 1 image to calibrate with: at least 2"),
        ([np.zeros((0, 16, 16), np.uint8)], "must hold uint8"),
        ([np.full((9, 16, 16), np.nan, np.float32)], "must hold uint8"),
        ([np.zeros((9, 16, 16, 2), np.uint8)], "does not fit the model"),
        ([np.zeros((9, 16), np.uint8)], "must hold uint8"),
    ],
    ids=["one image", "no images", "NaN", "two channels", "no pictures"],
)
def test_data_that_will_not_do_is_one_sentence(
    bundle: Path, tmp_path: Path, arrays: list[np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "data.npz", images=arrays[0])
    result = biject(
        "calibrate", bundle, "--data", tmp_path / "data.npz", "--out", tmp_path / "bars" / "2"
    )
    assert result.exit_code == 2, result.output
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert message in last
    assert result.stdout == ""
    assert not (tmp_path / "bars").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}", "--data", "{data}/single.npz", "--out", "{tmp}/bars/2"], "neither a run"),
        (["{run}", "--data", "{data}/single.npz", "--out", "{tmp}/bars/2"], "is a run"),
        (["{bundle}", "--data", "{tmp}/none", "--out", "{tmp}/bars/2"], "no data at"),
        (["{bundle}", "--data", "{tmp}", "--out", "{tmp}/bars/2"], "holds no images"),
        (["{bundle}", "--data", "{data}/single.npz", "--out", "{bundle}"], "never change"),
        (["{bundle}", "--data", "{data}/single.npz"], "--out"),
    ],
)
def test_a_wrong_calibrate_is_one_sentence(
    run: Path, bundle: Path, folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = [a.format(run=run, bundle=bundle, data=folder, tmp=tmp_path) for a in arguments]
    result = biject("calibrate", *given)
    assert result.exit_code == 2, result.output
    assert message in result.stderr.strip().splitlines()[-1]


def test_scores_that_are_not_finite_are_refused(bundle: Path, folder: Path) -> None:
    subject = open_subject(bundle)

    def broken(graph: str, rows: np.ndarray) -> list[np.ndarray]:
        terms, heat = subject.answer(graph, rows)
        terms[0, 1] = np.nan
        return [terms, heat]

    normal = calibration.normal_images(subject, str(folder / "single.npz"), watch=Silent())
    with pytest.raises(BadData, match="scores of 1 of 30 images are not finite"):
        calibration.measure(replace(subject, answer=broken), normal.images.images, watch=Silent())


def test_images_that_calibrated_say_nothing_of_it(bundle: Path, folder: Path) -> None:
    told = "the same images calibrated the bundle"
    result = biject("evaluate", bundle, "--data", folder / "single.npz", "--json")
    found = json.loads(result.stdout)
    assert "calibration" not in found
    assert any(note.startswith(told) for note in found["notes"])
    result = biject("evaluate", bundle, "--data", folder / "parts.npz", "--json")
    found = json.loads(result.stdout)
    assert (found["calibration"]["images"], found["calibration"]["count"]) == (60, 30)
    assert not any(note.startswith(told) for note in found["notes"])


def test_nothing_held_out_is_said(bundle: Path, folder: Path) -> None:
    subject = open_subject(bundle)
    assert subject.config is not None
    data = replace(subject.config.data, holdout=0.0)
    greedy = replace(subject, config=replace(subject.config, data=data))
    with pytest.raises(BadData, match="training held nothing of"):
        calibration.normal_images(greedy, str(folder / "single.npz"), watch=Silent())


@pytest.mark.parametrize("name", ["../manifest.json", "none.npy", "golden.npz", 7])
def test_a_file_of_hashes_that_is_none(bundle: Path, tmp_path: Path, name: object) -> None:
    copied(bundle, tmp_path / "bars" / "1", hashes=name)
    result = biject(
        "calibrate", tmp_path / "bars" / "1", "--data", "digits", "--out", tmp_path / "bars" / "2"
    )
    assert result.exit_code == 2, result.output
    assert str(name) in result.stderr
