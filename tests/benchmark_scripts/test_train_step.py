"""The benchmark of a training step: the straightforward step is the same step."""

import pytest

from benchmarks import plain_step, train_step
from benchmarks.records import ROOT, Records
from models.config import Config


def tiny(pairing: str) -> Config:
    return train_step.config_of(pairing, 32, 4)


def differ(config: Config) -> float:
    steps = {kind: train_step.contender(kind, config) for kind in train_step.KINDS}
    return train_step.apart({kind: train_step.first_totals(step) for kind, step in steps.items()})


@pytest.mark.parametrize("pairing", train_step.PAIRINGS)
def test_all_three_lose_the_same(pairing: str) -> None:
    assert differ(tiny(pairing)) < 1e-3


def test_a_step_that_is_another_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = plain_step._bigan_pair
    monkeypatch.setattr(plain_step, "_bigan_pair", lambda *given: 1.1 * pair(*given))
    assert differ(tiny("bigan")) > 1e-2


def test_processes_take_turns() -> None:
    apart, images = train_step.compared(tiny("bigan"), rounds=2, seconds=0, threads=1)
    assert apart < 1e-3
    assert list(images) == list(train_step.KINDS)
    assert all(len(found) == 2 and min(found) > 0 for found in images.values())


def test_ratios_are_medians_of_rounds() -> None:
    images = {"ours": [10.0, 30.0, 20.0], "plain": [10.0, 10.0, 10.0],
              "plain, frozen": [10.0, 20.0, 5.0]}  # fmt: skip
    assert train_step.ratios(images) == {"plain": 2.0, "plain, frozen": 1.5}


def test_the_guide_shows_what_was_recorded() -> None:
    guide = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    for row in train_step.lines(Records("train_step").last()):
        assert f"| {' | '.join(row)} |\n" in guide
