"""From anomaly scores to decisions, by comparison with the scores of normal images.

The p-value of a score s among n calibration scores s_i is (1 + #{s_i >= s}) / (n + 1): were s from
a normal image, all n + 1 ranks would be equally likely, so that P(p <= a) <= a for any a, however
the scores are distributed (Vovk, Gammerman, Shafer 2005; for anomalies Laxhammar 2014).  Nothing
is fitted, so nothing can be fitted badly; but the smallest p there is, is 1 / (n + 1).
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from serving.errors import Unprocessable

FPR: Final = 0.05  # the share of normal images that may be flagged, unless told
QUANTILES: Final = 1_001  # every tenth of a percent
Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a model says of N scores; None stands for what nobody can know without calibration."""

    p_values: list[float] | list[None]  # N, in (0, 1]
    anomalous: list[bool] | list[None]  # N; exactly where p <= fpr
    threshold: float | None  # scores above it, not at it, are anomalous; None if none can be
    note: str | None = None  # why nothing can be flagged, where that is so


def p_values(scores: Floats, calibration: Floats) -> npt.NDArray[np.float64]:
    """The share of normal images at least as abnormal: [N] in [1 / (n + 1), 1].

    Args:
        scores: [N], higher is more abnormal.
        calibration: Scores of n normal images, ascending.
    """
    n = len(calibration)
    as_high = n - np.searchsorted(calibration, np.asarray(scores, np.float64), side="left")
    return (1 + as_high) / (n + 1)


def threshold(calibration: Floats, fpr: float) -> float | None:
    """The score above which p <= fpr; None if no score is high enough (fpr < 1 / (n + 1)).

    Args:
        calibration: Scores of n normal images, ascending.
        fpr: The share of normal images that may be flagged, 0 < fpr < 1.
    """
    n = len(calibration)
    # p <= fpr means that at most k - 1 of the calibration scores reach s, with k the largest
    # whole number for which k / (n + 1) <= fpr: s is above the k-th largest of them.  The product
    # is off by rounding at times (0.29 * 100 < 29), so the quotients decide, as they do in p.
    k = math.floor(fpr * (n + 1))
    k += (k + 1) / (n + 1) <= fpr
    k -= k / (n + 1) > fpr
    return float(calibration[n - k]) if k > 0 else None


def quantiles(calibration: Floats) -> Floats:
    """Evenly spaced scores of those given, from the smallest to the largest: at most 1,001.

    Args:
        calibration: Scores of n normal images, ascending.
    Returns:
        [K] with K = min(n, 1001): number i is the score of rank i (n - 1) / (K - 1), rounded;
        where n <= 1001 all scores.
    """
    n = len(calibration)
    return calibration[np.rint(np.linspace(0, n - 1, min(n, QUANTILES))).astype(np.intp)]


NOT_CALIBRATED: Final = "the model was not calibrated: scores can be ranked, not judged"


def decide(
    scores: Floats,
    calibration: Floats | None,
    *,
    fpr: float = FPR,
    otherwise: str = NOT_CALIBRATED,
) -> Verdict:
    """The p-values of N scores, and which of them are anomalous at the false positive rate `fpr`.

    Args:
        scores: [N], higher is more abnormal.
        calibration: Scores of n normal images, ascending; None or empty without calibration.
        fpr: The share of normal images that may be flagged.
        otherwise: What is said where there is no calibration.
    Raises:
        Unprocessable: unless 0 < fpr < 1.
    """
    if not 0 < fpr < 1:
        raise Unprocessable(f"fpr must lie between 0 and 1, both excluded, got {fpr:g}")
    if calibration is None or not len(calibration):
        nothing: list[None] = [None] * len(scores)
        return Verdict(
            p_values=nothing,
            anomalous=nothing,
            threshold=None,
            note=otherwise,
        )
    limit, p, n = threshold(calibration, fpr), p_values(scores, calibration), len(calibration)
    return Verdict(
        p_values=p.tolist(),
        anomalous=(p <= fpr).tolist(),
        threshold=limit,
        note=None
        if limit is not None
        else f"nothing can be flagged at fpr {fpr:g}: the smallest p-value that {n} calibration "
        f"scores can give is {1 / (n + 1):g}",
    )
