"""Where penalties hold a critic's slope, whatever the critic judges."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from models.pairings.terms import Term, Terms
from models.regularisers import Regularisers
from models.regularisers.dragan_penalty import dragan_penalty
from models.regularisers.gradient_penalty import gradient_penalty
from models.regularisers.r1_penalty import r1_penalty


class Contest(NamedTuple):
    """A critic with what it has to tell apart."""

    score: Callable[..., Tensor]  # of as many parts as `real` has, to numbers [B]
    real: tuple[Tensor, ...]  # each [B, ...]
    fake: tuple[Tensor, ...]
    name: str = ""  # beside that of a penalty; none for a pairing's first critic
    on_data: bool = True  # whether it is held also by what acts on real data alone: r1 and dragan


def slope_terms(
    contest: Contest, chosen: Regularisers, *, rng: torch.Generator, update: int
) -> Terms:
    """The penalties on a critic's slope that are chosen and due in critic update `update`."""
    score, real, fake = contest.score, contest.real, contest.fake
    suffix = f"_{contest.name}" if contest.name else ""
    terms: Terms = {}
    if chosen.gradient:
        loss = gradient_penalty(score, real=real, fake=fake, rng=rng)
        terms[f"gradient{suffix}"] = Term(loss, chosen.gradient.weight)
    if not contest.on_data:
        return terms
    if chosen.dragan:
        loss = dragan_penalty(score, *real, rng=rng, noise=chosen.dragan.noise)
        terms[f"dragan{suffix}"] = Term(loss, chosen.dragan.weight)
    if chosen.r1 and (factor := chosen.r1.factor(update)):
        terms[f"r1{suffix}"] = Term(r1_penalty(score, *real), factor)
    return terms
