"""Average precision: how clean the list of the most abnormal is, from its top to its end."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score


def average_precision(*, normal: npt.NDArray[Any], abnormal: npt.NDArray[Any]) -> float:
    """Sum over thresholds of (recall gained) x (precision there), in 0 .. 1; abnormal is found.

    Scores that say nothing have the share of abnormal ones, so that the figure means something
    only beside that share; where few are abnormal it is the honest one, AUROC flatters.

    Args:
        normal: Scores [N] of what the model was trained for.
        abnormal: Scores [M] of what it was not; higher means more abnormal.
    Raises:
        ValueError: if a set is empty or holds a NaN.
    """
    if len(normal) == 0 or len(abnormal) == 0:
        raise ValueError(f"{len(normal)} normal and {len(abnormal)} abnormal scores")
    scores = np.concatenate([normal, abnormal])
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    truth = np.repeat([0, 1], [len(normal), len(abnormal)])
    return float(average_precision_score(truth, scores))
