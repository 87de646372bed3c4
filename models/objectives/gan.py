"""The non-saturating GAN: logistic losses on raw scores, labels swapped for G and E.

Goodfellow et al. 2014, arXiv:1406.2661, section 3 (the "-log D" form for G); on pairs Donahue,
Kraehenbuehl and Darrell 2017, arXiv:1605.09782, equation 3, where E plays the mirrored half.
With s = sigmoid(score), -log s = softplus(-score) and -log(1 - s) = softplus(score): the
softplus forms never take the logarithm of zero.
"""

from torch import Tensor
from torch.nn.functional import softplus

from models.objectives.score import ScoreObjective


def critic_loss(
    *, real: Tensor, fake: Tensor, smoothing: float = 0.0, smoothing_real: float = 0.0
) -> Tensor:
    """Mean cross-entropy of reals and of fakes against 1 and 0, or targets moved from there.

    Args:
        real: Raw scores of real pairs, [B].
        fake: Raw scores of fake pairs, [B'].
        smoothing: Two-sided label smoothing: 0.05 makes the targets 0.95 and 0.05.
        smoothing_real: One-sided label smoothing, of the reals' target beside that (Salimans et
            al. 2016, arXiv:1606.03498, section 3.4): 0.1 makes the targets 0.9 and 0.
    Returns:
        Scalar, in nats.
    """
    # -t log s(c) - (1 - t) log(1 - s(c)) = softplus(c) - t c
    real_loss = softplus(-real) + (smoothing + smoothing_real) * real
    fake_loss = softplus(fake) - smoothing * fake
    return real_loss.mean() + fake_loss.mean()


def generator_loss(*, fake: Tensor) -> Tensor:
    """Mean cross-entropy of fakes against 1; [B] to a scalar, in nats."""
    return softplus(-fake).mean()


def encoder_loss(*, real: Tensor) -> Tensor:
    """Mean cross-entropy of real pairs against 0; [B] to a scalar, in nats."""
    return softplus(real).mean()


OBJECTIVE = ScoreObjective(
    plain=critic_loss,
    smoothed=critic_loss,
    generator_loss=generator_loss,
    encoder_loss=encoder_loss,
)
