"""The ablation of AEGAN: its variants, its judge, its verdicts, and the page it writes."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from benchmarks import ablation, ablation_claims, ablation_document
from benchmarks.ablation_judge import CPU, Judge, collapsed
from benchmarks.ablation_variants import VARIANTS, shared
from benchmarks.records import Records
from models.config import Config, ModelConfig
from models.datasets import load
from models.datasets.dataset import Dataset
from models.training.batches import Batches
from models.training.step import Trainer
from serving.images import ImageSpec


def config(name: str) -> Config:
    small = shared("digits", size=16, width=4, batch=8)
    return VARIANTS[name].config(small, steps=3, seed=0)


@pytest.fixture(scope="module")
def digits() -> tuple[Dataset, Dataset]:
    return load("digits", ImageSpec(height=16, width=16, channels=1)).held_out(0.25, 0)


@pytest.fixture(scope="module")
def judge(digits: tuple[Dataset, Dataset]) -> Judge:
    return Judge(*digits, steps=60)


@pytest.mark.parametrize(
    ("name", "moved"),
    [
        ("gan", {"generator"}),
        ("ae", {"encoder", "generator"}),
        ("no-dz", {"encoder", "generator"}),
    ],
)
def test_what_a_variant_leaves_out_teaches_nothing(
    name: str, moved: set[str], digits: tuple[Dataset, Dataset]
) -> None:
    trainer = Trainer(config(name), CPU)
    before = {k: v.clone() for k, v in _weights(trainer).items()}
    batches = Batches(digits[0], batch=8, seed=0, device=CPU)
    for _ in range(3):
        trainer.update(batches)
    after = _weights(trainer)
    assert {k.partition(".")[0] for k in before if not torch.equal(before[k], after[k])} == moved
    # the critics are silent: other ones change nothing
    other = Trainer(config(name), CPU)
    if "latent" in other.critics:
        for weight in other.critics["latent"].parameters():
            weight.data.mul_(-3)
    for _ in range(3):
        other.update(batches)
    again = _weights(other)
    assert all(torch.equal(after[k], again[k]) for k in after)


def _weights(trainer: Trainer) -> dict[str, Tensor]:
    return {
        f"{part}.{name}": weight
        for part in ("encoder", "generator")
        for name, weight in getattr(trainer, part).named_parameters()
    }


class Told(nn.Module):
    """A network that answers with rows of its own, from the first on."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = rows

    def forward(self, given: Tensor) -> Tensor:
        return self.rows[: len(given)]


def test_a_judge_knows_real_images_from_one_image(judge: Judge) -> None:
    model = ModelConfig(image=(16, 16, 1), latent=16)
    real = torch.from_numpy(judge.real.images).permute(0, 3, 1, 2) / 127.5 - 1
    nothing = Told(torch.zeros(len(real), 16))
    best = judge.figures(nothing, Told(real), model, encodes=True)
    assert not collapsed(best)
    assert best["frechet"] < judge.floor["frechet"] / 10
    assert (best["coverage"], best["sharpness"], best["l1"]) == (1, 1, 0)
    assert best["cycle"] == pytest.approx(1, abs=0.05)  # E says 0
    assert best["ks"] == pytest.approx(0.5, abs=1e-6)
    one = 0.9 * real[:1].expand(len(real), -1, -1, -1)
    worst = judge.figures(nothing, Told(one), model, encodes=True)
    assert collapsed(worst) == ["coverage", "classes", "1-NN"]
    assert (worst["classes"], worst["largest"]) == (1, 1)
    assert worst["frechet"] > 10 * judge.floor["frechet"]
    assert np.isfinite(worst["halfway"])


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("benchmarks.records.RESULTS", tmp_path)
    monkeypatch.setattr(ablation_document, "DOCUMENT", tmp_path / "ablation.md")
    monkeypatch.setattr(ablation_document, "PICTURE", tmp_path / "ablation.png")
    return tmp_path


def run(*arguments: str) -> str:
    small = ("--run", "r", "--data", "digits", "--size", "16", "--width", "4")
    done = CliRunner().invoke(
        ablation.main,
        [*small, "--batch", "8", "--steps", "3", "--judged", "5", *arguments],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    return done.stderr


def test_variants_are_trained_once_and_told_in_whatever_number(elsewhere: Path) -> None:
    assert CliRunner().invoke(ablation.main, ["--write"]).output == (
        "Error: nothing was recorded yet\n"
    )
    assert "gan: step 3" in run("--only", "gan")
    said = run("--only", "gan,aegan")
    assert re.findall(r"^\S+: step", said, re.MULTILINE) == ["aegan: step"]
    run("--write")
    text = (elsewhere / "ablation.md").read_text()
    assert re.search(r"^\| GAN \| [\d,]+ \| [\d.]+ \| \d+ \(\d+%\) \| [\d.]+ \| [\d.]+ \| - \|",
                     text, re.MULTILINE)  # fmt: skip
    assert "**Stable, no lost modes**: " in text
    assert "one-to-one" not in text.casefold()  # no AE to compare with
    assert (elsewhere / "ablation.png").stat().st_size > 10_000


GOOD: dict[str, Any] = {
    "step": 200, "seconds": 10.0, "frechet": 50.0, "coverage": 0.6, "classes": 10, "largest": 0.2,
    "apart": 0.7, "sharpness": 0.9, "l1": 0.05, "kept": 0.8, "cycle": 0.2, "ks": 0.03,
    "halfway": 40.0,
}  # fmt: skip


def runs(**changed: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {
        name.replace("_", "-"): [{"curve": [GOOD | own], "diverged": None}]
        for name, own in changed.items()
    }


@pytest.mark.parametrize(
    ("gan", "control", "aegan", "words"),
    [
        (0.05, 0.05, 0.6, "holds here. Collapsed at the end: GAN 1 of 1, AEGAN 0 of 1, GAN + R1 1"),
        (0.05, 0.60, 0.6, "holds here, but holding the critic"),
        (0.60, 0.60, 0.6, "cannot be told here"),
        (0.05, 0.60, 0.05, "does not hold here"),
    ],
)
def test_the_verdict_on_stability(gan: float, control: float, aegan: float, words: str) -> None:
    three = {"gan": gan, "gan_r1": control, "aegan": aegan}
    told = ablation_claims.stability(runs(**{k: {"coverage": v} for k, v in three.items()}))
    assert told
    assert words in told


def test_verdicts_go_by_what_was_measured() -> None:
    better = runs(gan={"frechet": 70.0}, aegan={}, ae={}, egan={})
    assert ": holds here." in str(ablation_claims.early(better))
    assert "no difference" in str(ablation_claims.early(runs(gan={"frechet": 45.0}, aegan={})))
    assert "does not" in str(ablation_claims.early(runs(gan={"frechet": 20.0}, aegan={})))
    assert ": holds here." in str(ablation_claims.bijective(better))
    worse = runs(aegan={"l1": 0.1, "ks": 0.2}, ae={}, egan={})
    told = str(ablation_claims.bijective(worse))
    assert "in part: x comes back with 2.0 times the AE's error; codes are not" in told
    assert "variance" not in told


def test_the_page_is_what_the_records_say() -> None:
    records = Records("ablation").last()
    if not records:
        pytest.skip("nothing was recorded yet")
    written = ablation_document.DOCUMENT.read_text(encoding="utf-8")
    assert written == ablation_document.document(records), (
        "run python -m benchmarks.ablation --write"
    )
