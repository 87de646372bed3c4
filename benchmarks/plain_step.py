"""A training step as one would write it down first: what ours is compared with."""

from copy import deepcopy
from typing import Final, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss, mse_loss

from models.networks.holding import held
from models.training.batches import Batches, draw_prior, rng_for
from models.training.step import Trainer

CPU: Final = torch.device("cpu")

_Network = TypeVar("_Network", bound=nn.Module)


class Plain:
    """The networks, their optimisers, and an update."""

    def __init__(self, trainer: Trainer, *, freeze: bool) -> None:
        """Its networks start with the weights of `trainer`'s."""
        self.encoder = _in_rows(trainer.encoder)
        self.generator = _in_rows(trainer.generator)
        self.critics = _in_rows(trainer.critics)
        self.freeze, self.config, self.step = freeze, trainer.config, 0
        train = trainer.config.train
        pair = [*self.encoder.parameters(), *self.generator.parameters()]
        self.pair_optimiser = torch.optim.Adam(pair, lr=train.lr, betas=train.betas)
        critics = self.critics.parameters()
        self.critic_optimiser = torch.optim.Adam(critics, lr=train.critic_lr, betas=train.betas)
        losses = {"bigan": (_bigan_critic, _bigan_pair), "aegan": (_aegan_critic, _aegan_pair)}
        self.critic_loss, self.pair_loss = losses[trainer.config.model.pairing]

    def update(self, batches: Batches) -> dict[str, Tensor]:
        """One step; both totals."""
        rng = rng_for(self.config.train.seed, "update", self.step, CPU)
        x = batches.at(self.step).contiguous()
        z = draw_prior(self.config.model, len(x), rng, CPU)
        critic = self.critic_loss(self.encoder, self.generator, self.critics, x, z)
        self.critic_optimiser.zero_grad()
        critic.backward()
        self.critic_optimiser.step()
        if self.freeze:
            with held(self.critics):
                pair = self._pair(x, z)
        else:
            pair = self._pair(x, z)
        self.step += 1
        return {"critic/total": critic.detach(), "pair/total": pair.detach()}

    def _pair(self, x: Tensor, z: Tensor) -> Tensor:
        pair = self.pair_loss(self.encoder, self.generator, self.critics, x, z)
        self.pair_optimiser.zero_grad()
        pair.backward()
        self.pair_optimiser.step()
        return pair


def _in_rows(network: _Network) -> _Network:
    """A copy in NCHW, as networks are built."""
    # torch's annotations lack memory_format
    copy: _Network = deepcopy(network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return copy


def _bce(scores: Tensor, target: float) -> Tensor:
    return binary_cross_entropy_with_logits(scores, torch.full_like(scores, target))


def _bigan_critic(e: nn.Module, g: nn.Module, d: nn.ModuleDict, x: Tensor, z: Tensor) -> Tensor:
    with torch.no_grad():
        code, sample = e(x), g(z)
    return _bce(d["joint"](x, code), 1) + _bce(d["joint"](sample, z), 0)


def _bigan_pair(e: nn.Module, g: nn.Module, d: nn.ModuleDict, x: Tensor, z: Tensor) -> Tensor:
    code, sample = e(x), g(z)
    return _bce(d["joint"](x, code), 0) + _bce(d["joint"](sample, z), 1)


def _aegan_parts(
    e: nn.Module, g: nn.Module, x: Tensor, z: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    code = e(x)
    sample, again = g(torch.cat([z, code])).chunk(2)  # one batch, so that BatchNorm sees the same
    return code, sample, again, e(sample)


def _aegan_critic(e: nn.Module, g: nn.Module, d: nn.ModuleDict, x: Tensor, z: Tensor) -> Tensor:
    with torch.no_grad():
        code, sample, again, cycle = _aegan_parts(e, g, x, z)
    image, latent = d["image"], d["latent"]
    return (
        _bce(image(x), 0.95) + (_bce(image(sample), 0.05) + _bce(image(again), 0.05)) / 2
        + _bce(latent(z), 0.95) + (_bce(latent(code), 0.05) + _bce(latent(cycle), 0.05)) / 2
    )  # fmt: skip


def _aegan_pair(e: nn.Module, g: nn.Module, d: nn.ModuleDict, x: Tensor, z: Tensor) -> Tensor:
    code, sample, again, cycle = _aegan_parts(e, g, x, z)
    return (
        _bce(d["image"](sample), 1) + _bce(d["image"](again), 1)
        + _bce(d["latent"](code), 1) + _bce(d["latent"](cycle), 1)
        + 10 * l1_loss(again, x) + 5 * mse_loss(cycle, z)
    )  # fmt: skip
