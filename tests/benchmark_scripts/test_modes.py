"""The benchmark of modes: its stacked program, its rules, and the page it writes."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from benchmarks import modes, modes_document
from benchmarks.mode_rules import Nearest
from benchmarks.records import Records
from benchmarks.stacked import CPU, Stack, StackedBatches, StackedTrainer, stacks
from models.config import Config
from models.datasets import load_vectors, toy
from models.training.batches import Batches
from models.training.step import Trainer

SEEDS = (0, 3)


def config(*overrides: str) -> Config:
    small = ("model.width=8", "train.batch=16", "train.threads=1")
    return Config.read(modes.RING, [*small, *overrides])


def batches(seed: int) -> Batches:
    return Batches(load_vectors("toy:ring", limit=64), batch=16, seed=seed, device=CPU)


def weights(network: torch.nn.Module, place: int) -> dict[str, Tensor]:
    assert isinstance(network, Stack)
    return network.network(place).state_dict()


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("regularisers.pairwise={weight=0.5, form='squared'}", "model.objective=linear"),
        ("regularisers.pairwise=0", "model.objective=wgan-gp", "train.critic_steps=2"),
        ("regularisers.pairwise=0", "model.objective=wgan", "regularisers.clip=0.05",
         "train.optimiser=rmsprop", "model.prior=uniform"),
    ],
)  # fmt: skip
def test_seeds_side_by_side_are_trained_as_if_each_were_alone(overrides: tuple[str, ...]) -> None:
    shared = config("train.lr=0.01", "train.critic_lr=0.01", *overrides)
    stack = StackedTrainer(shared, SEEDS)
    together = StackedBatches([batches(seed) for seed in SEEDS])
    alone = [
        Trainer(replace(shared, train=replace(shared.train, seed=seed)), CPU) for seed in SEEDS
    ]
    own = [batches(seed) for seed in SEEDS]
    for _ in range(9):  # more than an epoch of 4
        losses = stack.update(together)
        each = [one.update(own) for one, own in zip(alone, own, strict=True)]
        for name, loss in losses.items():
            mean = sum(one[name].item() for one in each) / len(SEEDS)
            assert loss.item() == pytest.approx(mean, rel=1e-4, abs=1e-6), name
    for place, one in enumerate(alone):
        for stacked, network in (
            (stack.encoder, one.encoder),
            (stack.averaged_generator, one.averaged_generator),
            (stack.critics["joint"], one.critics["joint"]),
        ):
            for name, weight in network.state_dict().items():
                torch.testing.assert_close(
                    weights(stacked, place)[name], weight, rtol=1e-3, atol=1e-4
                )


@pytest.mark.parametrize(
    "override",
    ["model.objective=cramer", "model.objective=ebgan", "model.objective=fisher",
     "regularisers.dragan=1", "model.critic_norm=spectral", "model.pairing=aegan"],
)  # fmt: skip
def test_what_couples_seeds_is_not_stacked(override: str) -> None:
    assert stacks(config("regularisers.pairwise=0"))
    assert not stacks(config("regularisers.pairwise=0", override))


def test_the_rules_count_modes_by_hand() -> None:
    angles = np.arange(8) * np.pi / 4
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # of 800 samples: mode 0 has 400, mode 1 has 10 (a tenth of its share), mode 2 has 9, mode 3
    # 100 at 5 sigma, and the rest lie in the middle, a little nearer to mode 4
    samples = np.concatenate([
        np.repeat(circle[:1], 400, axis=0),
        np.repeat(circle[1:2], 10, axis=0),
        np.repeat(circle[2:3], 9, axis=0),
        np.repeat(circle[3:4] * 1.05, 100, axis=0),
        np.repeat(circle[4:5] * 0.01, 281, axis=0),
    ])  # fmt: skip
    nearest = Nearest(toy.find("ring"), samples)
    assert nearest.captured(sigmas=10, part=0.1) == 3  # 0, 1 and 3
    assert nearest.captured(sigmas=3, part=0.01) == 3  # 0, 1 and 2
    assert nearest.touched() == 5
    assert nearest.share(sigmas=10) == pytest.approx(519 / 800)
    assert nearest.share(sigmas=3) == pytest.approx(419 / 800)


@pytest.mark.parametrize("name", toy.DENSITIES)
def test_a_density_s_own_points_are_good_and_reach_every_mode(name: str) -> None:
    points, labels = toy.find(name).draw(20_000, np.random.default_rng(1))
    nearest = Nearest(toy.find(name), points)
    assert (nearest.modes == labels).mean() > 0.98  # neighbours on the roll
    assert nearest.captured(sigmas=10, part=0.1) == len(np.unique(labels)) == nearest.touched()
    assert nearest.share(sigmas=10) == 1.0
    assert nearest.share(sigmas=3) > 0.97


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("benchmarks.records.RESULTS", tmp_path)
    monkeypatch.setattr(modes_document, "DOCUMENT", tmp_path / "modes.md")
    monkeypatch.setattr(modes_document, "PICTURE", tmp_path / "modes.png")
    return tmp_path


def run(*arguments: str) -> str:
    done = CliRunner().invoke(modes.main, ["--run", "r", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stderr


def test_cells_are_measured_once_and_told_in_whatever_number(elsewhere: Path) -> None:
    small = ("--width", "8", "--batch", "16", "--seeds", "2", "--steps", "4", "--only", "grid")
    assert "grid bigan gan none" in run(*small, "--objectives", "gan")
    said = run(*small, "--objectives", "gan,gmmn")
    assert "grid bigan gan" not in said
    assert "gmmn has no critic" in said
    records = Records("modes", "r").of_run("r")
    found = {(one["objective"], one["remedy"]) for one in records}
    assert found == {(n, r) for n in ("gan", "gmmn") for r in ("none", "pairwise")}
    run(*small, "--write")
    text = (elsewhere / "modes.md").read_text()
    assert re.search(r"\| `gan` \| pairwise \| 4 \| \d+, \d+ \|", text)
    assert "| `gmmn` | pairwise | 4 | n/a |" in text
    assert "- n/a: `gmmn`: gmmn has no critic" in text
    assert "claim" not in text.partition("Two rules")[2].casefold().partition("##")[2]
    assert (elsewhere / "modes.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("plain", "norm", "words"),
    [
        ([1, 2], [8, 8], "reproduced in every seed"),
        ([1, 8], [8, 8], "all modes in every seed, and some seeds need no penalty"),
        ([1, 2], [8, 4], "more modes than without it, not all"),
        ([8, 2], [3, 4], "not reproduced"),
    ],
)
def test_the_verdict_on_the_claim_is_what_the_seeds_say(
    plain: list[int], norm: list[int], words: str
) -> None:
    common: dict[str, Any] = {
        "density": "ring", "pairing": "bigan", "objective": "gan", "steps": 8000,
        "how": {"seeds": 2, "width": 8, "batch": 8}, "commit": "c", "device": "d, onnxruntime",
        "within3": [0, 0], "touched": [8, 8], "good10": [0, 0], "good3": [0, 0], "error": [0, None],
    }  # fmt: skip
    records = [
        {**common, "remedy": "none", "within10": plain},
        {**common, "remedy": "pairwise", "within10": norm},
    ]
    text = modes_document.document(records)
    assert f"Claim: pairwise: {words}." in text


def test_what_was_trained_for_longer_stands_with_and_without_the_penalty() -> None:
    def one(remedy: str, steps: int, objective: str = "gan", **more: Any) -> dict[str, Any]:
        own = {"density": "grid", "pairing": "bigan", "objective": objective}
        return {**own, "remedy": remedy, "steps": steps, **more}

    both = [one("none", 1500), one("pairwise", 1500), one("none", 4000)]
    assert modes_document.longest(both) == both[:2]  # 4,000 with the penalty are not there yet
    both.append(one("pairwise", 4000))
    assert modes_document.longest(both) == both[2:]
    alone = [one("none", 1500, "ebgan"), one("pairwise", 1500, "ebgan", refused="no")]
    longer = one("none", 4000, "ebgan")
    assert modes_document.longest([*alone, longer]) == [longer, {**alone[1], "steps": 4000}]
    apart = [one("none", 1500), one("pairwise", 4000)]
    assert modes_document.longest(apart) == apart


def test_the_page_is_what_the_records_say() -> None:
    written = modes_document.DOCUMENT.read_text(encoding="utf-8")
    records = Records("modes").last()
    assert written == modes_document.document(records), "run python -m benchmarks.modes --write"
