"""Polishing: E learns by residuals while G and the critics stay as they are.

Schlegl et al. 2019 (f-AnoGAN), Medical Image Analysis 54, there called izi_f: the
squared error of the image plus kappa times that of what a critic notices of it.  It is the second
stage of pairing fanogan, and may end any other run: reconstructions gain, samples stay the same.
Nothing in it holds codes to the prior: look at `code_std` afterwards, and calibrate afresh.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from models.pairings.terms import Losses, Term, Terms, added

Features = Callable[[Tensor, Tensor], Tensor | None]  # of items [B, ...] with codes [B, Z]


def polish_loss(
    encoder: nn.Module, generator: nn.Module, features: Features, x: Tensor, *, weight: float
) -> Losses:
    """Mean (x - G(E(x)))^2 plus `weight` times the mean square of the features' difference.

    A critic of pairs sees x and G(E(x)) both with E(x), through which no gradient flows to E.
    """
    code = encoder(x)
    again = generator(code)
    terms: Terms = {"residual": Term(mse_loss(again, x))}
    if weight:
        beside = code.detach()
        with torch.no_grad():
            aim = features(x, beside)
        found = features(again, beside)
        if found is None or aim is None:
            raise ValueError("no critic sees items, whose features polishing asks for")
        terms["residual_feature"] = Term(mse_loss(found, aim), weight)
    return added(terms)
