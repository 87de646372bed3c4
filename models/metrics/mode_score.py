"""Mode Score: the Inception Score, lowered where the classes are not as frequent as they should.

Che et al. 2017, arXiv:1612.02136, section 4.1, with one correction: their formula has the
distribution of the training labels in both divergences, which is the Inception Score identically
(the two terms cancel).  What they describe is

    exp(E_x KL(p(y|x) || p(y)) - KL(p(y) || p_train(y)))

with p(y) that of the samples.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr

from models.metrics.inception_score import check_probabilities, inception_score


def mode_score(*, samples: npt.NDArray[Any], real: npt.NDArray[Any]) -> float:
    """The Inception Score over exp KL(p(y) || p_train(y)), in 0 .. K; higher is better.

    Equal to the Inception Score where the samples' classes are as frequent as the training
    labels, below it elsewhere; 0 if samples fall into a class that no training label has.

    Args:
        samples: Class probabilities [N, K] of the samples.
        real: How often each class is among the training labels, [K]: counts or shares.
    Raises:
        ValueError: no probabilities, or `real` is no distribution over the same classes.
    """
    check_probabilities(samples)
    trained = real.astype(np.float64)
    if trained.shape != samples.shape[1:] or (trained < 0).any() or not trained.sum() > 0:
        raise ValueError(f"the training labels' distribution must be [{samples.shape[1]}]")
    marginal = samples.astype(np.float64).mean(axis=0)
    apart = float(rel_entr(marginal, trained / trained.sum()).sum())
    return inception_score(samples=samples) * float(np.exp(-apart))
