"""Are codes E(x) distributed as the prior, dimension by dimension and all together?

Where they are not, samples of G come from places E never uses, and a morph leaves the images.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from models.metrics.kernel_mmd import kernel_mmd

PRIORS: Final = ("normal", "uniform")


def ks_statistics(codes: npt.NDArray[Any], *, prior: str) -> npt.NDArray[np.float64]:
    """The Kolmogorov-Smirnov statistic of each dimension of codes [N, Z] against the prior, [Z].

    sup |F_N - F|, in 0 .. 1: the largest difference between the share of codes below a value and
    the prior's chance of it.  0 is best; codes of the prior itself have about .87 / sqrt(N).
    Raises ValueError for no codes, or a prior that is neither normal nor uniform on (-1, 1).
    """
    if codes.ndim != 2 or not codes.size:
        raise ValueError(f"codes must be [N, Z] with N > 0, got {codes.shape}")
    count = len(codes)
    at = _distribution(np.sort(codes.astype(np.float64), axis=0), prior)
    steps = np.arange(count + 1)[:, None] / count
    found: npt.NDArray[np.float64] = np.maximum(
        (steps[1:] - at).max(axis=0), (at - steps[:-1]).max(axis=0)
    )
    return found


def mmd_to_prior(*, codes: npt.NDArray[Any], prior_draws: npt.NDArray[Any]) -> float:
    """Unbiased MMD^2 of codes [N, Z] to draws of the prior [M, Z]; 0 is best.

    Sees what single dimensions cannot: codes that are normal each but not independent.  The
    bandwidth is sqrt(2 Z) for a standard normal prior, about the median distance, taken from the
    draws alone so that the yardstick does not stretch with bad codes.
    """
    spread = float(np.sqrt(2.0 * prior_draws.astype(np.float64).var(axis=0).sum()))
    return kernel_mmd(real=prior_draws, samples=codes, bandwidth=spread)


def _distribution(values: npt.NDArray[np.float64], prior: str) -> npt.NDArray[np.float64]:
    """The prior's distribution function."""
    if prior not in PRIORS:
        raise ValueError(f"no prior {prior!r}; choose from: {', '.join(PRIORS)}")
    below: npt.NDArray[np.float64] = (
        ndtr(values) if prior == "normal" else ((values + 1.0) / 2.0).clip(0.0, 1.0)
    )
    return below
