"""What critics of items and of codes say, where several sorts are shown to them at once."""

import torch
from torch import Tensor, nn

from models.networks.minibatch import looks_at_batches
from models.networks.once import Once
from models.objectives.score import ScoreObjective


def scores(critic: nn.Module, *parts: Tensor) -> list[Tensor]:
    """The raw scores [B] of each part [B, ...].

    In one pass; apart where a critic looks at batches, which must not hold reals beside fakes, or
    is asked about a part again.
    """
    if looks_at_batches(critic) or isinstance(critic, Once):
        return [critic(part) for part in parts]
    return list(critic(torch.cat(parts)).split([len(part) for part in parts]))


def against_two(
    critic: nn.Module,
    objective: ScoreObjective,
    *,
    x: Tensor,
    sample: Tensor,
    reconstruction: Tensor,
    share: float,
    targets: dict[str, float],
) -> Tensor:
    """The loss of a critic of items that tells x from G(z), and from G(E(x)) `share` times as much.

    The fakes together weigh as much as the reals.  At 0 no reconstruction is scored.
    """
    if not share:
        real, fake = scores(critic, x, sample)
        return objective.critic_loss(real=real, fake=fake, **targets)
    real, fake, again = scores(critic, x, sample, reconstruction)
    loss = objective.critic_loss(real=real, fake=fake, **targets)
    other = objective.critic_loss(real=real, fake=again, **targets)
    return (loss + share * other) / (1 + share)
