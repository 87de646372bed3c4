"""Critics that are looked ahead, against a game worked out by hand and against a real step."""

import pytest
import torch
from torch import Tensor, nn

from games import GAN, build, config, gradients, rng, turn
from models import networks, regularisers
from models.errors import BadConfig
from models.objectives import wgan
from models.pairings.pairing import Pass
from models.regularisers import Unrolled
from models.training.unrolling import unrolled_loss


class Slope(nn.Module):
    """A critic of one number: its score is w times the item."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.w * x.squeeze(1)


@pytest.mark.parametrize("steps", [1, 3])
def test_g_sees_the_critic_some_steps_ahead_and_how_it_moves_it(steps: int) -> None:
    # w after k steps: w - k lr (f - r); L_G = -w_k f, dL_G/df = -w + k lr (2 f - r)
    w, r, f, lr = 0.5, 2.0, 0.7, 0.1
    critic = Slope()
    critics = nn.ModuleDict({"image": critic})
    sample = torch.full((4, 1), f, requires_grad=True)
    batch = Pass(x=torch.full((4, 1), r), z=torch.zeros(4, 1), sample=sample)
    chosen = Unrolled(steps=steps, lr=lr)
    fanogan = build("fanogan")
    losses = unrolled_loss(fanogan, critics, batch, wgan.OBJECTIVE, turn(), chosen)
    ahead = w - steps * lr * (f - r)
    assert losses["total"].item() == pytest.approx(-ahead * f, rel=1e-5)
    losses["total"].backward()
    assert sample.grad is not None
    assert sample.grad.sum().item() == pytest.approx(-w + steps * lr * (2 * f - r), rel=1e-5)
    assert critic.w.item() == w
    assert critic.w.grad is None


@pytest.mark.parametrize("name", ["bigan", "ali", "aegan", "vaegan"])
def test_the_losses_are_those_after_as_many_plain_steps(name: str, x: Tensor, z: Tensor) -> None:
    made, pairing = config(name), build(name)
    torch.manual_seed(0)
    encoder, generator = networks.build_encoder(made.model), networks.build_generator(made.model)
    critics = pairing.build_critics(made.model)
    batch = pairing.forward(encoder, generator, x, z, rng())
    chosen = Unrolled(steps=2, lr=0.3)
    losses = unrolled_loss(pairing, critics, batch, GAN, turn(), chosen)
    slopes = gradients(losses["total"], encoder) if name != "vaegan" else []
    now = pairing.pair_loss(critics, batch, GAN, turn())["total"].item()
    descent = torch.optim.SGD(critics.parameters(), lr=0.3)
    for _ in range(2):
        descent.zero_grad()
        pairing.critic_loss(critics, batch.detached(), GAN, turn())["total"].backward()
        descent.step()
    after = pairing.pair_loss(critics, batch, GAN, turn())["total"]
    assert losses["total"].item() == pytest.approx(after.item(), rel=1e-5)
    assert losses["total"].item() != pytest.approx(now, rel=1e-5)
    for ours, stopped in zip(slopes, gradients(after, encoder), strict=False):
        assert ours is not None
        assert stopped is not None
        assert not torch.allclose(ours, stopped)  # E also sees how it moves the critic


def test_settings_are_read_and_wrong_ones_refused() -> None:
    assert regularisers.parse({"unrolled": 5}).unrolled == Unrolled(steps=5)
    chosen = regularisers.parse({"unrolled": {"steps": 5, "lr": 0.5}}).unrolled
    assert chosen == Unrolled(steps=5, lr=0.5)
    assert regularisers.parse({"unrolled": 0}).unrolled is None
    for wrong in (-1, 1.5, True, {"lr": 0.1}, {"steps": 2, "lr": 0}, {"steps": 2, "lr": "fast"}):
        with pytest.raises(BadConfig, match=r"regularisers\.unrolled"):
            regularisers.parse({"unrolled": wrong})
