"""What goes together and what does not: every row of the tables in models/choices.py."""

import re
from typing import Any

import pytest

from models import choices, objectives
from models.choices import REFUSALS, WARNINGS
from models.config import Config
from models.errors import BadConfig

SCORES = ("saturating", "gan", "linear", "lsgan", "hinge", "wgan", "rwgan")
EMBEDDINGS = ("mcgan-mean", "mcgan-covariance", "mmd-gan", "cramer")
ENERGIES = ("ebgan", "began", "magan")


def config(objective: str, *overrides: str, pairing: str = "bigan") -> Config:
    model = {"pairing": pairing, "objective": objective, "network": "mlp", "vector": 2, "latent": 1}
    return Config.from_dict({"model": model, "train": {"batch": 256}}).changed(overrides)


def aegan(objective: str, *overrides: str) -> Config:
    return config(objective, "weights.smoothing=0", *overrides, pairing="aegan")


SPECTRAL, CLIP = "model.critic_norm=spectral", "regularisers.clip=0.01"
UNIFORM = "model.prior=uniform"
GRADIENT, PAIRWISE = "regularisers.gradient=1", "regularisers.pairwise=1"
R1 = "regularisers.r1=1"

REFUSED: dict[int, list[tuple[Config, str]]] = {
    0: [
        (aegan(name), "takes the objectives saturating, gan")
        for name in ("fisher", "gmmn", *EMBEDDINGS, *ENERGIES)
    ],
    1: [
        (config("gmmn", SPECTRAL), r"\['model.critic_norm'\]"),
        (config("gmmn", "model.critic_width=8"), "critic_width"),
        (config("gmmn", "train.critic_steps=2"), "critic_steps"),
        (config("gmmn", "train.critic_lr=1e-4"), "critic_lr"),
        (config("gmmn", "train.critic_optimiser=adamax"), "critic_optimiser"),
        (config("gmmn", CLIP), "regularisers.clip"),
        (config("gmmn", GRADIENT), "regularisers.gradient"),
        (config("gmmn", PAIRWISE), "regularisers.pairwise"),
        (config("gmmn", R1), "regularisers.r1"),
        (config("gmmn", "weights.smoothing=0.1"), "weights.smoothing"),
    ],
    2: [
        *(
            (config(name, "weights.smoothing=0.1", SPECTRAL), "no labels to smooth")
            for name in ("hinge", "wgan", "wgan-gp", "rwgan", "fisher", *EMBEDDINGS, *ENERGIES)
        ),
        (config("hinge", pairing="aegan"), "weights.smoothing = 0"),
    ],
    3: [(aegan("gan", PAIRWISE), "joint critic")],
    4: [(aegan("gan", GRADIENT), "joint critic"), (aegan("wgan-gp"), "joint critic")],
    5: [(config(name, PAIRWISE), "embeddings") for name in EMBEDDINGS],
    6: [(config(name, one), "energies") for name in ENERGIES for one in (PAIRWISE, GRADIENT)],
    7: [(config(name, GRADIENT), "no witness") for name in ("mcgan-mean", "mcgan-covariance")],
    8: [
        *(
            (config("wgan", CLIP, other), "choose one")
            for other in (GRADIENT, PAIRWISE, R1, SPECTRAL)
        ),
        (config("wgan-gp", CLIP), "0 turns it off"),
        (config("mmd-gan", CLIP), "0 turns it off"),
    ],
    9: [
        *((config(name), "needs a bounded critic") for name in choices.UNBOUNDED[:-1]),
        (config("cramer", "regularisers.gradient=0"), "needs a bounded critic"),
        (aegan("wgan"), "needs a bounded critic"),
    ],
    10: [(config("wgan-gp", "regularisers.gradient=0"), "choose that")],
    11: [
        (config("gan", "train.compile=true", one), "second derivatives")
        for one in (PAIRWISE, GRADIENT, R1)
    ],
    12: [(config("gan", "model.latent_critic_norm=none"), "choose pairing aegan")],
    13: [
        *((config("gan", R1, other), "choose one of the three") for other in (PAIRWISE, GRADIENT)),
        (config("cramer", R1), "choose one of the three"),
    ],
    14: [
        *(
            (config(name, "regularisers.gradient=0", SPECTRAL, R1), "choose a score objective")
            for name in EMBEDDINGS
        ),
        *((config(name, R1), "choose a score objective") for name in ENERGIES),
    ],
}


def cases(table: dict[int, list[Any]]) -> list[Any]:
    return [
        pytest.param(row, *case, id=f"{row}-{case[0].model.objective}-{number}")
        for row, some in table.items()
        for number, case in enumerate(some)
    ]


def test_every_row_is_tried() -> None:
    assert set(REFUSED) == set(range(len(REFUSALS)))
    assert set(WARNED) == set(range(len(WARNINGS)))


@pytest.mark.parametrize(("row", "wrong", "why"), cases(REFUSED))
def test_what_does_not_go_together_is_refused(row: int, wrong: Config, why: str) -> None:
    with pytest.raises(BadConfig, match=why) as caught:
        choices.resolve(wrong)
    said = max(re.split(r"\{.*?\}", REFUSALS[row].sentence), key=len)
    assert said in str(caught.value)  # by this row, and no other
    assert "\n" not in str(caught.value)


WARNED: dict[int, list[tuple[Config, str]]] = {
    0: [(config("gan", PAIRWISE, SPECTRAL), "spectral norm")],
    1: [(config(name, PAIRWISE), f"{name} has targets") for name in ("lsgan", "hinge")],
    2: [(config(name), "prior = uniform") for name in ENERGIES],
    3: [(config("gmmn", "train.batch=255"), "256 or more")],
    4: [(config("mcgan-covariance", CLIP, "train.batch=63"), "64 or more")],
}


@pytest.mark.parametrize(("row", "dubious", "why"), cases(WARNED))
def test_what_is_dubious_is_warned_of(row: int, dubious: Config, why: str) -> None:
    (sentence,) = choices.warnings(choices.resolve(dubious))
    assert why in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "right",
    [
        *(config(name) for name in ("gan", "saturating", "linear", "lsgan", "hinge", "fisher")),
        *(config(name, "weights.smoothing=0.1") for name in SCORES[:4]),
        *(config(name, one) for name in ("wgan", "rwgan") for one in (CLIP, GRADIENT, SPECTRAL)),
        config("wgan", PAIRWISE),
        config("wgan", "regularisers.clip={low=-0.1, high=0.2}"),
        config("wgan-gp"),
        *(config(name, one) for name in EMBEDDINGS[:2] for one in (CLIP, SPECTRAL)),
        config("mmd-gan"),
        config("mmd-gan", "regularisers.gradient=0", CLIP),
        config("cramer"),
        config("cramer", "regularisers.gradient=0", SPECTRAL),
        config("gmmn"),
        *(config(name, UNIFORM) for name in ENERGIES),
        *(config(name, UNIFORM, CLIP) for name in ENERGIES),
        *(aegan(name, SPECTRAL) for name in SCORES),
        config("gan", pairing="aegan"),
        config("gan", R1),
        config("fisher", R1),
        config("gan", R1, "model.latent_critic_norm=spectral", pairing="aegan"),
        aegan("wgan", CLIP),
    ],
    ids=lambda one: f"{one.model.pairing}-{one.model.objective}",
)
def test_what_goes_together_is_neither_refused_nor_warned_of(right: Config) -> None:
    assert choices.warnings(choices.resolve(right)) == []


def test_a_name_brings_its_penalty_and_a_config_goes_before_it() -> None:
    assert choices.resolve(config("wgan-gp")).regularisers == {"gradient": 10.0}
    assert choices.resolve(config("cramer", GRADIENT)).regularisers == {"gradient": 1}
    assert choices.resolve(config("gan")).regularisers == {}
    once = choices.resolve(config("mmd-gan"))
    assert choices.resolve(once) == once


def test_the_names_in_the_tables_are_those_of_objectives() -> None:
    names = {*choices.IMPLIED, *choices.UNBOUNDED, *SCORES, *EMBEDDINGS, *ENERGIES}
    assert names <= set(objectives.OBJECTIVES)
