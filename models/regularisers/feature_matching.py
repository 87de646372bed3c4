"""Feature matching: what a critic notices is the same on average of reals and of fakes.

Salimans et al. 2016, arXiv:1606.03498, section 3.1.  There it takes the place of G's loss; here it
comes beside it.  On pairs E is moved too, since its codes are part of what the critic notices.
"""

from torch import Tensor


def feature_matching(*, real: Tensor, fake: Tensor) -> Tensor:
    """The squared L2 distance of the mean features; [B, D] and [B', D] to a scalar."""
    return (real.float().mean(0) - fake.float().mean(0)).square().sum()
