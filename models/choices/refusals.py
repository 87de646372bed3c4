"""What is refused before the first step, and the sentence that says so.

A sentence names what to choose instead.
"""

from typing import Final

from models.choices.choice import STATEFUL, UNBOUNDED, Row

REFUSALS: Final = (
    Row(
        holds=lambda c: c.pairing.scores_only and not c.is_score,
        sentence="pairing {c.config.model.pairing} takes the objectives saturating, gan, linear, "
        "lsgan, hinge, wgan and rwgan, not {c.name}: choose one of them, or pairing bigan or ali",
    ),
    Row(
        holds=lambda c: c.no_critic and c.critic_options,
        sentence="gmmn has no critic: leave out {c.critic_options}",
    ),
    Row(
        holds=lambda c: c.smooths and not c.has_targets,
        sentence="{c.name} has no labels to smooth: set weights.smoothing = 0 and "
        "weights.smoothing_real = 0, or choose the objective saturating, gan, linear or lsgan",
    ),
    Row(
        holds=lambda c: not c.joint and c.penalties.pairwise,
        sentence="the pairwise penalty needs a joint critic, which {c.config.model.pairing} has "
        "not: leave it out, or choose pairing bigan, ali or alad",
    ),
    Row(
        holds=lambda c: not c.joint and c.penalties.mismatch,
        sentence="mismatched pairs are for games of pairs, which {c.config.model.pairing} is not: "
        "leave regularisers.mismatch out, or choose pairing bigan, ali or alad",
    ),
    Row(
        holds=lambda c: c.is_embedding and c.penalties.pairwise,
        sentence="the pairwise penalty needs a critic that gives scores, {c.name} has embeddings: "
        "leave it out, or choose a score objective",
    ),
    Row(
        holds=lambda c: (
            c.is_energy and (c.penalties.pairwise or c.penalties.gradient or c.penalties.dragan)
        ),
        sentence="{c.name} has energies, whose slope is not to be held: leave out the pairwise, "
        "the gradient and the dragan penalty",
    ),
    Row(
        holds=lambda c: c.no_slope and c.penalties.gradient,
        sentence="{c.name} has no witness whose slope the gradient penalty could hold: choose "
        "regularisers.clip or model.critic_norm = spectral",
    ),
    Row(
        holds=lambda c: c.penalties.clip and (c.penalties.second_derivatives or c.spectral),
        sentence="clipped weights bound the critic already: choose one of regularisers.clip, "
        "gradient, pairwise, dragan, r1 and model.critic_norm = spectral (wgan-gp, mmd-gan and "
        "cramer bring gradient along: 0 turns it off)",
    ),
    Row(
        holds=lambda c: c.name in UNBOUNDED and not c.bounded,
        sentence="{c.name} needs a bounded critic: choose regularisers.clip, regularisers.gradient "
        "(not for mcgan-*), regularisers.pairwise or dragan (wgan, rwgan) or model.critic_norm = "
        "spectral",
    ),
    Row(
        holds=lambda c: c.name == "wgan-gp" and not c.penalties.gradient,
        sentence="wgan-gp without its gradient penalty is wgan: choose that, with a clip",
    ),
    Row(
        holds=lambda c: c.config.train.compile and c.penalties.second_derivatives,
        sentence="train.compile has no second derivatives, as a penalty on the critic's slope "
        "needs them: choose one of the two",
    ),
    Row(
        holds=lambda c: not c.pairing.has.latent and c.config.model.latent_critic_norm != "same",
        sentence="{c.config.model.pairing} has no critic of codes alone for "
        "model.latent_critic_norm: leave it out, or choose pairing aegan or aae",
    ),
    Row(
        holds=lambda c: (
            c.penalties.r1 and (c.penalties.pairwise or c.penalties.gradient or c.penalties.dragan)
        ),
        sentence="r1 wants no slope where the pairwise, the gradient and the dragan penalty want "
        "one: choose one of the four",
    ),
    Row(
        holds=lambda c: c.penalties.r1 and (c.is_embedding or c.is_energy),
        sentence="r1 holds the slope of scores, and {c.name} has none: leave it out, or choose a "
        "score objective",
    ),
    Row(
        holds=lambda c: c.penalties.dragan and c.is_embedding,
        sentence="dragan holds the slope of scores, and {c.name} has none: leave it out, or choose "
        "a score objective",
    ),
    Row(
        holds=lambda c: (
            c.name in UNBOUNDED
            and c.config.model.pairing in ("aegan", "alad")
            and not c.all_bounded
        ),
        sentence="{c.name} needs all critics of {c.config.model.pairing} bounded: choose "
        "regularisers.clip, regularisers.gradient or model.critic_norm = spectral",
    ),
    Row(
        holds=lambda c: c.config.model.stochastic and c.config.model.prior != "normal",
        sentence="{c.config.model.pairing} draws codes from normal distributions: choose "
        "model.prior = normal, or pairing bigan or aegan",
    ),
    Row(
        holds=lambda c: c.config.model.pairing == "fanogan" and not c.config.train.polish,
        sentence="fanogan trains E in the last steps alone: set train.polish to how many, half of "
        "train.steps for instance",
    ),
    Row(
        holds=lambda c: (
            c.config.train.polish and c.config.train.polish_feature and not c.sees_items
        ),
        sentence="no critic sees items whose features train.polish could compare: set "
        "train.polish_feature = 0, or choose a pairing that judges images or pairs",
    ),
    Row(
        holds=lambda c: c.clouds and c.penalties.second_derivatives,
        sentence="a critic that looks at batches has no slope at one item: choose one of "
        "model.critic_minibatch and regularisers.pairwise, gradient, r1, dragan",
    ),
    Row(
        holds=lambda c: c.clouds and not c.is_score and c.name != "fisher",
        sentence="model.critic_minibatch is for scores, and {c.name} has none: leave it out, or "
        "choose a score objective",
    ),
    Row(
        holds=lambda c: c.clouds and not c.sees_items,
        sentence="{c.config.model.pairing} has no critic of items for model.critic_minibatch: "
        "leave it out, or choose a pairing that judges images or pairs",
    ),
    Row(
        holds=lambda c: c.penalties.feature_matching and not c.sees_items,
        sentence="{c.config.model.pairing} has no critic of items whose features could be matched: "
        "leave regularisers.feature_matching out, or choose a pairing that judges images or pairs",
    ),
    Row(
        holds=lambda c: (c.penalties.instance_noise or c.penalties.augment) and not c.sees_items,
        sentence="{c.config.model.pairing} has no critic that sees items: leave out "
        "regularisers.instance_noise and augment, or choose a pairing that judges images or pairs",
    ),
    Row(
        holds=lambda c: c.penalties.augment and c.config.model.image is None,
        sentence="regularisers.augment changes images, not vectors: leave it out, or try "
        "regularisers.instance_noise",
    ),
    Row(
        holds=lambda c: c.penalties.latent_mmd and c.config.model.pairing == "fanogan",
        sentence="fanogan's E rests while G plays, so no regularisers.latent_mmd can move it: "
        "leave it out, or choose pairing mrgan",
    ),
    Row(
        holds=lambda c: (
            c.penalties.unrolled
            and (c.penalties.clip or c.spectral or c.name in STATEFUL or c.config.train.compile)
        ),
        sentence="regularisers.unrolled looks ahead by plain steps, which know no clip, spectral "
        "norm, train.compile or state of {c.name}: leave one of them out",
    ),
    Row(
        holds=lambda c: c.penalties.unrolled and c.config.model.image is not None,
        sentence="regularisers.unrolled is for toys, at many times the cost of a step: leave it "
        "out for images, or raise train.critic_steps",
    ),
    Row(
        holds=lambda c: c.spared and not c.goes_round,
        sentence="no gradient of E(G(z)) is there to be kept from anyone: leave out "
        "weights.cycle_to_generator and cycle_to_encoder, or set weights.latent",
    ),
    Row(
        holds=lambda c: c.labels_meet,
        sentence="smoothing leaves no distance between the labels of real and fake: keep 2 * "
        "weights.smoothing + weights.smoothing_real below 1",
    ),
    Row(
        holds=lambda c: c.config.model.stochastic and c.config.model.categorical,
        sentence="{c.config.model.pairing} draws codes from normal distributions, and a category "
        "has none: leave model.categorical out, or choose pairing bigan or aegan",
    ),
    Row(
        holds=lambda c: c.config.model.classes and c.no_critic,
        sentence="gmmn has no critic that could be told a label: leave model.classes out, or "
        "choose a score objective",
    ),
)
