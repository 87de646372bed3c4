"""Frames from disk to figures: trained on crops, calibrated and evaluated as wholes, scored."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from sklearn.metrics import roc_auc_score

from biject import main
from models.config import Config
from models.datasets import frames, load
from models.errors import BadConfig, DataError
from models.training.loop import Run, read_data
from serving import open_bundle
from serving.images import ImageSpec

Images = npt.NDArray[np.uint8]
SIDE, STRIDE = 16, 12
SPEC = ImageSpec(height=SIDE, width=SIDE, channels=1)
HELD_OUT = 6


def biject(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def frame(rng: np.random.Generator) -> Images:
    """Grey noise between 14 and 40 pixels wide: some are narrower than a tile."""
    return rng.integers(100, 140, (int(rng.integers(20, 30)), int(rng.integers(14, 40))), np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The MVTec layout: 24 normal frames to train on, 8 more and 6 with a black spot to test."""
    root, rng = tmp_path_factory.mktemp("frames") / "parts", np.random.default_rng(0)
    for part, count in (("train/good", 24), ("test/good", 8), ("test/spot", 6)):
        folder = root / part
        folder.mkdir(parents=True)
        for i in range(count):
            pixels = frame(rng)
            if part == "test/spot":
                mask = np.zeros_like(pixels)
                y, x = (int(rng.integers(0, side - 5)) for side in pixels.shape)
                pixels[y : y + 5, x : x + 5], mask[y : y + 5, x : x + 5] = 0, 255
                where = root / "ground_truth" / "spot"
                where.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(where / f"{i:02}_mask.png")
            Image.fromarray(pixels).save(folder / f"{i:02}.png")
    return root


def config(data: Path) -> Config:
    return Config.from_dict(
        {
            "data": {"path": str(data), "holdout": 0.25, "crops": 3},
            "model": {
                "image": [SIDE, SIDE, 1], "latent": 4, "width": 4, "critic_norm": "spectral"
            },
            "train": {"steps": 3, "seed": 5, "batch": 8, "threads": 1, "checkpoint_every": 3},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def bundle(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three steps, not calibrated."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model")
    chosen = config(data)
    training = Run(folder / "run", chosen, read_data(chosen), torch.device("cpu"))
    training.begin("biject train frames.toml")
    for _ in training.steps():
        pass
    result = biject("export", folder / "run", folder / "parts" / "1")
    assert result.exit_code == 0, result.output
    return folder / "parts" / "1"


@pytest.fixture(scope="module")
def calibrated(bundle: Path, data: Path) -> Path:
    out = bundle.parent / "2"
    command = ("calibrate", bundle, "--data", data, "--tile", SIDE, "--stride", STRIDE)
    result = biject(*command, "--by", "l2s", "--out", out)
    assert (result.exit_code, result.stdout) == (0, f"{out}\n"), result.output
    assert f"{HELD_OUT} normal frames: 0.14 is the least rate" in result.stderr
    return out


def test_crops_are_parts_of_their_frame_and_stay_together(data: Path) -> None:
    found = load(str(data), SPEC, crops=3)
    wholes = frames.load(str(data), 1)
    assert (len(found), len(wholes)) == (72, 24)
    assert found.groups is not None
    for image, group in zip(found.images, found.groups, strict=True):
        whole = wholes.read(int(group))
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(whole, ((0, 0), (0, max(0, SIDE - whole.shape[1])), (0, 0)), mode="symmetric"),
            (SIDE, SIDE, 1),
        )
        assert (windows.reshape(-1, SIDE, SIDE, 1) == image).all(axis=(1, 2, 3)).any()
    trained, held_out = found.held_out(0.25, 5)
    assert trained.groups is not None
    assert held_out.groups is not None
    assert not set(trained.groups) & set(held_out.groups)
    assert len(held_out) == 3 * HELD_OUT


def test_a_frame_gives_the_same_crops_wherever_it_lies(data: Path, tmp_path: Path) -> None:
    moved = tmp_path / "one"
    moved.mkdir()
    (moved / "z.png").write_bytes((data / "train/good/07.png").read_bytes())
    again, all_of_them = load(str(moved), SPEC, crops=3), load(str(data), SPEC, crops=3)
    np.testing.assert_array_equal(again.images, all_of_them.images[21:24])


def test_a_frame_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.png"):
        load(str(tmp_path), SPEC, crops=3)
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "b.png")
    assert [one.name for one in load(str(tmp_path), SPEC, crops=3).skipped] == ["a.png"]


@pytest.mark.parametrize("given", [{"crops": -1}, {"crops": 2, "group": "name"}])
def test_crops_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(BadConfig, match=r"data\.crops"):
        Config.from_dict({"data": given, "model": {"image": [16, 16, 1]}})


def test_frames_held_out_calibrate_as_wholes(calibrated: Path, data: Path) -> None:
    kept = json.loads((calibrated / "manifest.json").read_text())["score"]["calibration"]
    assert kept["tiles"] == {"tile": SIDE, "stride": STRIDE}
    assert kept["source"] == "parts: what training held out"
    # a third would lend their codes, but makes less than 50 tiles
    assert (kept["count"], kept["heat"]["images"]) == (HELD_OUT, HELD_OUT)
    chosen = config(data)
    groups = read_data(chosen).held_out(0.25, 5)[1].groups
    assert groups is not None
    wholes = frames.load(str(data), 1)
    with open_bundle(calibrated, device="cpu") as pair:
        scored = pair.score([wholes.read(int(i)) for i in np.unique(groups)], tile=SIDE)
    for i, term in enumerate(pair.manifest.score.terms):
        np.testing.assert_allclose(kept["scores"][term], np.sort(scored.terms[:, i]), rtol=1e-4)
    pixels = np.concatenate([heat.ravel() for heat in scored.heat])
    assert kept["heat"]["quantiles"]["0.99"] == pytest.approx(np.quantile(pixels, 0.99), abs=1e-4)
    assert sorted(p for p in scored.verdict.p_values if p is not None) == pytest.approx(
        [(1 + k) / (HELD_OUT + 1) for k in range(1, HELD_OUT + 1)]
    )


def test_export_calibrates_on_frames_too(calibrated: Path, data: Path) -> None:
    run, out = calibrated.parent.parent / "run", calibrated.parent / "4"
    cut = ("--tile", SIDE, "--stride", STRIDE, "--by", "l2s")
    refused = biject("export", run, out, *cut)
    assert (refused.exit_code, "--calibrate" in refused.stderr) == (2, True), refused.output
    assert not out.exists()
    result = biject("export", run, out, "--calibrate", data, *cut)
    assert result.exit_code == 0, result.output
    of_both = [
        json.loads((one / "manifest.json").read_text())["score"] for one in (out, calibrated)
    ]
    assert of_both[0] == of_both[1]


def test_frames_that_were_trained_on_are_refused_elsewhere_too(
    bundle: Path, data: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in (data / "train" / "good").iterdir():
        (elsewhere / f"a{file.name}").write_bytes(file.read_bytes())
    (elsewhere / "b.png").write_bytes((data / "test/good/00.png").read_bytes())
    out = bundle.parent / "9"
    refused = biject("calibrate", bundle, "--data", elsewhere, "--tile", SIDE, "--out", out)
    assert refused.exit_code == 2
    assert "were trained on" in refused.stderr
    assert not out.exists()


def test_evaluate_tells_frames_apart_beside_pca(calibrated: Path, data: Path) -> None:
    result = biject("evaluate", calibrated, "--data", data, "--tile", SIDE, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)["frames"]
    assert (figures["tile"], figures["stride"]) == (SIDE, STRIDE)  # that of the calibration
    whole = json.loads(result.stdout)
    assert not {"one_nn", "samples"} & whole.keys()  # where only good frames can be learned from
    assert "inception_score" not in json.dumps(whole)
    assert any("of one class" in note for note in whole["notes"])
    assert (figures["normal"], figures["abnormal"]) == (8, 6)
    wholes = frames.load(str(data), 1, split="test")
    masks = [wholes.mask(i) for i in range(8, 14)]
    assert all(mask is not None and mask.sum() == 25 for mask in masks)
    assert wholes.mask(0) is None
    with open_bundle(calibrated, device="cpu") as pair:
        scored = pair.score([wholes.read(i) for i in range(14)], tile=SIDE)
    truth = np.repeat([0, 1], [8, 6])
    for i, term in enumerate(pair.manifest.score.terms):
        assert figures["auroc"][term] == pytest.approx(roc_auc_score(truth, scored.terms[:, i]))
    assert figures["kinds"]["spot"]["auroc"]["l2s"] == figures["auroc"]["l2s"]
    terms = ("l2", "l2s", "peak", "blob", "ssim")
    assert figures["pca"]["auroc"] == {f"pca_{term}": 1 for term in terms}  # black in grey
    heat = np.concatenate([one.ravel() for one in scored.heat])
    defective = np.concatenate(
        [np.zeros(one.size) for one in scored.heat[:8]]
        + [mask.ravel() for mask in masks if mask is not None]
    )
    assert figures["pixel_auroc"]["heat"] == pytest.approx(roc_auc_score(defective, heat))
    assert figures["pixel_auroc"]["pca"] > 0.95
    assert 0 <= figures["pro"]["heat"] <= 1
    flagged = np.array(scored.verdict.p_values, float) <= 0.1  # 7 scores allow no such flag
    assert figures["flagged"]["shares"]["0.1"]["normal"] == flagged[:8].mean() == 0
    table = biject("evaluate", calibrated, "--data", data, "--tile", SIDE, "--limit", 14)
    assert "8 normal frames against 6 others, tiles of 16, stride 12" in table.stdout
    assert re.search(r"AUROC of each kind of frame\n +l2s +PCA, l2s\n", table.stdout)


def test_commands_refuse_what_cannot_be_cut(bundle: Path, data: Path, tmp_path: Path) -> None:
    picture, out = data / "test/good/00.png", tmp_path / "out.csv"
    for command, said in (
        (("score", bundle, picture, "--out", out, "--tile", 15), "16x16"),
        (("score", bundle, picture, "--out", out, "--stride", 8), "wants tile"),
        (("score", bundle, picture, "--out", out, "--tile", 16, "--roi", tmp_path / "no"), "--roi"),
        (("evaluate", bundle, "--data", data, "--tile", 15), "16x16"),
        (("evaluate", bundle, "--data", data, "--tile", 16, "--normal", "best"), "best"),
        (("evaluate", bundle, "--data", data, "--tile", 16, "--roi", "0,0,90,9"), "beyond"),
        (("evaluate", bundle, "--data", "digits", "--tile", 16), "digits"),
    ):
        refused = biject(*command)
        assert (refused.exit_code, said in refused.stderr) == (2, True), refused.output
    assert not out.exists()


def test_score_says_where_the_worst_tile_is(calibrated: Path, data: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "scores.json", data / "test" / "spot"
    result = biject("score", calibrated, folder, "--tile", SIDE, "--out", out)
    assert result.exit_code == 0, result.output
    with open_bundle(calibrated, device="cpu") as pair:
        scored = pair.score([*sorted(folder.iterdir())], tile=SIDE, stride=STRIDE)
    assert scored.whole is not None
    for row, worst, tiles in zip(
        json.loads(out.read_text())["results"], scored.whole.worst, scored.whole.counts, strict=True
    ):
        assert worst is not None
        assert (row["tiles"], row["p_value"] is not None) == (tiles, True)
        assert [row[f"worst_{side}"] for side in ("x", "y", "width", "height")] == list(worst.box)
