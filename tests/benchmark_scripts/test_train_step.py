"""The benchmark of a training step: the straightforward step is the same step."""

import pytest

from benchmarks import train_step
from benchmarks.records import ROOT, Records
from models.config import Config


def tiny(pairing: str) -> Config:
    return train_step.config_of(pairing, 32, 4)


@pytest.mark.parametrize("pairing", train_step.PAIRINGS)
def test_all_three_lose_the_same(pairing: str) -> None:
    steps, _ = train_step.contenders(tiny(pairing))
    assert train_step.checked(steps) < 1e-3


def test_a_step_that_is_another_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = train_step._bigan_pair
    monkeypatch.setattr(train_step, "_bigan_pair", lambda *given: 1.1 * pair(*given))
    steps, _ = train_step.contenders(tiny("bigan"))
    assert train_step.checked(steps) > 1e-2


def test_ratios_are_medians_of_rounds() -> None:
    images = {"ours": [10.0, 30.0, 20.0], "plain": [10.0, 10.0, 10.0],
              "plain, frozen": [10.0, 20.0, 5.0]}  # fmt: skip
    assert train_step.ratios(images) == {"plain": 2.0, "plain, frozen": 1.5}


def test_the_guide_shows_what_was_recorded() -> None:
    guide = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    for row in train_step.lines(Records("train_step").last()):
        assert f"| {' | '.join(row)} |\n" in guide
