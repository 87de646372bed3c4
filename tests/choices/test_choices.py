"""What goes together and what does not: every row of the tables in models/choices.py."""

import re
from typing import Any

import pytest

from models import choices, objectives, pairings
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
R1, DRAGAN = "regularisers.r1=1", "regularisers.dragan=1"
MISMATCH, MMD = "regularisers.mismatch=1", "regularisers.latent_mmd=1"
MATCHING, NOISE = "regularisers.feature_matching=1", "regularisers.instance_noise=0.1"
AUGMENT, UNROLLED = "regularisers.augment=['color']", "regularisers.unrolled=2"
STD = "model.critic_minibatch=std"
POLISH, NO_FEATURES = "train.polish=10", "train.polish_feature=0"

REFUSED: dict[int, list[tuple[Config, str]]] = {
    0: [
        (config(name, "weights.smoothing=0", pairing=pairing), "takes the objectives saturating")
        for pairing in ("aegan", "alad", "aae", "vaegan", "mrgan", "fanogan")
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
        *(
            (config("gmmn", one), "leave out")
            for one in (DRAGAN, MATCHING, NOISE, AUGMENT, UNROLLED, STD, MISMATCH)
        ),
        (config("gmmn", "weights.smoothing=0.1"), "weights.smoothing"),
    ],
    2: [
        *(
            (config(name, "weights.smoothing=0.1", SPECTRAL), "no labels to smooth")
            for name in ("hinge", "wgan", "wgan-gp", "rwgan", "fisher", *EMBEDDINGS, *ENERGIES)
        ),
        (config("hinge", pairing="aegan"), "weights.smoothing = 0"),
        (config("hinge", "weights.smoothing_real=0.1"), "weights.smoothing_real = 0"),
        (config("hinge", "weights.smoothing={from=0.0, to=0.1, steps=9}"), "no labels"),
    ],
    3: [(aegan("gan", PAIRWISE), "joint critic")],
    4: [
        (config("gan", MISMATCH, pairing=name), "games of pairs")
        for name in ("aegan", "aae", "vaegan", "mrgan")
    ],
    5: [(config(name, PAIRWISE), "embeddings") for name in EMBEDDINGS],
    6: [
        (config(name, one), "energies") for name in ENERGIES for one in (PAIRWISE, GRADIENT, DRAGAN)
    ],
    7: [(config(name, GRADIENT), "no witness") for name in ("mcgan-mean", "mcgan-covariance")],
    8: [
        *(
            (config("wgan", CLIP, other), "choose one")
            for other in (GRADIENT, PAIRWISE, R1, DRAGAN, SPECTRAL)
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
        for one in (PAIRWISE, GRADIENT, R1, DRAGAN)
    ],
    12: [
        (
            config("gan", "model.latent_critic_norm=none", pairing=name),
            "choose pairing aegan or aae",
        )
        for name in ("bigan", "ali", "alad", "vaegan", "mrgan")
    ],
    13: [
        *(
            (config("gan", R1, other), "choose one of the four")
            for other in (PAIRWISE, GRADIENT, DRAGAN)
        ),
        (config("cramer", R1), "choose one of the four"),
    ],
    14: [
        *(
            (config(name, "regularisers.gradient=0", SPECTRAL, R1), "choose a score objective")
            for name in EMBEDDINGS
        ),
        *((config(name, R1), "choose a score objective") for name in ENERGIES),
    ],
    15: [
        (config(name, "regularisers.gradient=0", SPECTRAL, DRAGAN), "choose a score objective")
        for name in EMBEDDINGS
    ],
    16: [
        (aegan("wgan", R1), "all critics of aegan"),
        (aegan("wgan", "model.latent_critic_norm=spectral"), "all critics of aegan"),
        (config("wgan", DRAGAN, pairing="alad"), "all critics of alad"),
    ],
    17: [
        (config("gan", UNIFORM, pairing=name), "model.prior = normal") for name in ("ali", "vaegan")
    ],
    18: [(config("gan", pairing="fanogan"), "set train.polish")],
    19: [
        (config("gan", POLISH, pairing="aae"), "train.polish_feature = 0"),
        (config("gmmn", POLISH), "train.polish_feature = 0"),
    ],
    20: [(config("gan", STD, one), "choose one") for one in (PAIRWISE, GRADIENT, R1, DRAGAN)],
    21: [
        (config(name, "regularisers.gradient=0", STD, SPECTRAL), "choose a score objective")
        for name in (*EMBEDDINGS, *ENERGIES)
    ],
    22: [(config("gan", STD, pairing="aae"), "no critic of items")],
    23: [(config("gan", MATCHING, pairing="aae"), "no critic of items")],
    24: [(config("gan", one, pairing="aae"), "sees items") for one in (NOISE, AUGMENT)],
    25: [(config("gan", AUGMENT), "instance_noise")],
    26: [(config("gan", MMD, POLISH, pairing="fanogan"), "choose pairing mrgan")],
    27: [
        (config("gan", UNROLLED, SPECTRAL), "leave one of them out"),
        (config("gan", UNROLLED, "train.compile=true"), "leave one of them out"),
        (config("wgan", UNROLLED, CLIP), "leave one of them out"),
        *((config(name, UNROLLED, CLIP), f"state of {name}") for name in choices.STATEFUL),
    ],
    28: [
        (
            Config.from_dict({"model": {"image": [16, 16, 1]}, "regularisers": {"unrolled": 2}}),
            "train.critic_steps",
        )
    ],
    29: [
        (config("gan", f"weights.{one}=0", pairing=name), "set weights.latent")
        for one in ("cycle_to_generator", "cycle_to_encoder")
        for name in ("bigan", "ali")
    ],
    30: [
        (config("gan", "weights.smoothing=0.5"), "below 1"),
        (config("gan", "weights.smoothing_real=1", pairing="aae"), "below 1"),
        (config("gan", "weights.smoothing_real=0.9", pairing="aegan"), "below 1"),
    ],
    31: [
        (config("gan", "model.latent=3", "model.categorical=2", pairing=pairing), "a category")
        for pairing in ("ali", "vaegan")
    ],
    32: [(config("gmmn", "model.classes=3"), "gmmn has no critic that could be told")],
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
    3: [
        (config("gan", *some, pairing="alad"), "alad's authors")
        for some in ((), (SPECTRAL,), ("model.encoder_norm=spectral",))
    ],
    4: [(config("gmmn", "train.batch=255"), "256 or more")],
    5: [(config("mcgan-covariance", CLIP, "train.batch=63"), "64 or more")],
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
        aegan("wgan-gp"),
        aegan("gan", GRADIENT),
        *(config(name, DRAGAN) for name in ("gan", "wgan", "fisher")),
        *(config("gan", one) for one in (MISMATCH, MMD, MATCHING, NOISE, UNROLLED, STD, POLISH)),
        *(config("cramer", one) for one in (MISMATCH, MMD, MATCHING, NOISE)),
        *(config("began", UNIFORM, one) for one in (MISMATCH, MMD, MATCHING, NOISE)),
        config("ebgan", UNIFORM, UNROLLED),
        config("gan", MISMATCH, MMD, MATCHING, NOISE, GRADIENT, "weights.smoothing_real=0.1"),
        config("gan", "weights.latent=1", "weights.cycle_to_encoder=0"),
        config("gan", "weights.latent={from=0, to=1, steps=9}", "weights.cycle_to_encoder=0"),
        config("gmmn", MMD),
        config("gmmn", POLISH, NO_FEATURES),
        config("gan", POLISH, NO_FEATURES, pairing="aae"),
        *(config("wgan", one, pairing="aae") for one in (GRADIENT, SPECTRAL, DRAGAN)),
        config("wgan", "model.latent_critic_norm=spectral", pairing="aae"),
        *(config(name, pairing="ali") for name in ("gan", "cramer", "fisher")),
        *(
            config("gan", SPECTRAL, "model.encoder_norm=spectral", one, pairing="alad")
            for one in (GRADIENT, R1, MISMATCH, "weights.cycle_to_generator=0")
        ),
        *(config("wgan-gp", pairing=name) for name in ("vaegan", "mrgan")),
        config("wgan-gp", POLISH, pairing="fanogan"),
    ],
    ids=lambda one: f"{one.model.pairing}-{one.model.objective}",
)
def test_what_goes_together_is_neither_refused_nor_warned_of(right: Config) -> None:
    assert choices.warnings(choices.resolve(right)) == []


def test_a_pairing_brings_its_regulariser_and_a_config_goes_before_it() -> None:
    assert choices.resolve(config("gan", pairing="mrgan")).regularisers == {"latent_mmd": 10.0}
    assert choices.resolve(config("gan", MMD, pairing="mrgan")).regularisers == {"latent_mmd": 1}
    both = choices.resolve(config("wgan-gp", pairing="mrgan")).regularisers
    assert both == {"latent_mmd": 10.0, "gradient": 10.0}


def test_a_name_brings_its_penalty_and_a_config_goes_before_it() -> None:
    assert choices.resolve(config("wgan-gp")).regularisers == {"gradient": 10.0}
    assert choices.resolve(config("cramer", GRADIENT)).regularisers == {"gradient": 1}
    assert choices.resolve(config("gan")).regularisers == {}
    once = choices.resolve(config("mmd-gan"))
    assert choices.resolve(once) == once


def test_the_names_in_the_tables_are_those_of_objectives() -> None:
    names = {
        *choices.IMPLIED,
        *choices.UNBOUNDED,
        *choices.STATEFUL,
        *SCORES,
        *EMBEDDINGS,
        *ENERGIES,
    }
    assert names <= set(objectives.OBJECTIVES)
    assert set(choices.IMPLIED_BY_PAIRING) <= set(pairings.PAIRINGS)
