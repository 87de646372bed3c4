"""AUROC: how well a score tells abnormal from normal, whatever the threshold."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score


def auroc(*, normal: npt.NDArray[Any], abnormal: npt.NDArray[Any]) -> float:
    """The chance that a random abnormal score is above a random normal one; ties count half.

    Args:
        normal: Scores [N] of what the model was trained for.
        abnormal: Scores [M] of what it was not; higher means more abnormal.
    Returns:
        1 where the score separates the two, .5 where it says nothing, 0 where it is upside down.
    Raises:
        ValueError: if a set is empty or holds a NaN.
    """
    if len(normal) == 0 or len(abnormal) == 0:
        raise ValueError(f"{len(normal)} normal and {len(abnormal)} abnormal scores")
    scores = np.concatenate([normal, abnormal])
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    truth = np.repeat([0, 1], [len(normal), len(abnormal)])
    return float(roc_auc_score(truth, scores))
