"""Inception Score: are samples each of one class, and all together of many?

Salimans et al. 2016, arXiv:1606.03498, section 4: exp(E_x KL(p(y|x) || p(y))).  The original
takes p(y|x) from an Inception network; here it is whatever classifier the caller has, and a value
says nothing beside one of another classifier.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr


def inception_score(*, samples: npt.NDArray[Any], splits: int = 1, seed: int = 0) -> float:
    """exp of the mean KL divergence of p(y|x) from p(y), in 1 .. K; higher is better.

    1: every sample gets the same answer; K: sure answers, all classes alike often.  Blind to
    anything within a class: one perfect picture per class scores K.

    Args:
        samples: Class probabilities [N, K] of the samples.
        splits: Parts, drawn with `seed`, whose scores are averaged; the literature has 10 of
            5,000.  Small parts score lower: p(y) is then estimated from few.
    Raises:
        ValueError: no probabilities, or fewer rows than splits.
    """
    check_probabilities(samples)
    if not 1 <= splits <= len(samples):
        raise ValueError(f"{splits} splits of {len(samples)} samples")
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(samples))
    parts = np.array_split(samples.astype(np.float64)[order], splits)
    return float(np.mean([np.exp(_mean_divergence(part)) for part in parts]))


def check_probabilities(rows: npt.NDArray[Any]) -> None:
    """Raise ValueError unless these are class probabilities [N, K] with N > 0."""
    if rows.ndim != 2 or not rows.size:
        raise ValueError(f"probabilities must be [N, K] with N > 0, got {rows.shape}")
    if (rows < 0).any() or not np.allclose(rows.sum(axis=1), 1, atol=1e-3):
        raise ValueError("probabilities must be at least 0 and sum to 1 in every row")


def _mean_divergence(part: npt.NDArray[np.float64]) -> float:
    """E KL(p(y|x) || p(y)) in nats; rel_entr has 0 log 0 = 0."""
    return float(rel_entr(part, part.mean(axis=0)).sum(axis=1).mean())
