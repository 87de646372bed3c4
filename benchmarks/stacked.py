"""Several seeds of one run, trained side by side by the ordinary trainer's own step.

Every network becomes a stack of networks (torch.func), one per seed, and a batch holds the rows of
all seeds, one seed after another.  A loss that is a mean over rows is then the mean of the seeds'
losses, so pairings, objectives and penalties are those of models/, unchanged.  Where a loss is more
than a mean over rows, or an objective has a state, seeds cannot share a batch: `stacks` says where.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from models import choices
from models.choices.choice import choice_of
from models.config import Config
from models.pairings.terms import Losses
from models.training import optimisers
from models.training.averaging import NORMS
from models.training.batches import Batches, rng_for
from models.training.draws import Draw, RowDraws
from models.training.step import Trainer

CPU = torch.device("cpu")


def stacks(config: Config) -> bool:
    """Whether seeds of this run can be trained side by side, each as if it were alone."""
    choice = choice_of(choices.resolve(config))
    model = choice.config.model
    return (
        (model.pairing, model.network) == ("bigan", "mlp")
        and choice.is_score
        and not choice.whole_batch
        and model.critic_norm == model.encoder_norm == "none"
    )


class Stack(nn.Module):
    """Networks of one shape, each of which sees its own rows."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        if any(isinstance(m, NORMS) for m in networks[0].modules()):
            raise ValueError("a network with BatchNorm cannot be stacked")
        self.count = len(networks)
        self._alike = [deepcopy(networks[0]).to("meta")]  # in a list: no part of this module
        weights, _ = stack_module_state(list(networks))
        self._names = list(weights)
        self.weights = nn.ParameterList(weight.detach() for weight in weights.values())

    def forward(self, *parts: Tensor) -> Tensor:
        """What each network makes of its rows; [S * B, ...] to [S * B, ...]."""
        own = dict(zip(self._names, self.weights, strict=True))
        split = [part.unflatten(0, (self.count, -1)) for part in parts]

        def one(weights: dict[str, Tensor], *parts: Tensor) -> Any:
            return functional_call(self._alike[0], weights, parts)

        made: Tensor = vmap(one)(own, *split)
        return made.flatten(0, 1)

    def network(self, place: int) -> nn.Module:
        """One of the networks, with a copy of its weights."""
        network = deepcopy(self._alike[0]).to_empty(device=CPU)
        weights = zip(self._names, self.weights, strict=True)
        network.load_state_dict({name: weight[place].detach() for name, weight in weights})
        return network


class StackedBatches(Batches):
    """The batches of several seeds, one seed after another."""

    def __init__(self, each: Sequence[Batches]) -> None:
        self.each = each
        self.batch, self.per_epoch = each[0].batch * len(each), each[0].per_epoch

    def at(self, number: int) -> Tensor:
        """Batch `number` of every seed, [S * B, ...]."""
        return torch.cat([one.at(number) for one in self.each])

    def labels_at(self, number: int) -> None:
        """None: models of known densities are told no classes."""


class StackedTrainer(Trainer):
    """Trains one network of each kind per seed; losses are means over the seeds."""

    def __init__(self, config: Config, seeds: Sequence[int]) -> None:
        if not stacks(config):
            raise ValueError("these choices train their seeds one after another")
        super().__init__(config, CPU)
        self.seeds = tuple(seeds)
        alone = [
            Trainer(replace(config, train=replace(config.train, seed=seed)), CPU) for seed in seeds
        ]
        self.encoder = Stack([one.encoder for one in alone])
        self.generator = Stack([one.generator for one in alone])
        self.critics = nn.ModuleDict(
            {name: Stack([one.critics[name] for one in alone]) for name in self.critics}
        )
        self.averaged_encoder = deepcopy(self.encoder).requires_grad_(False).eval()
        self.averaged_generator = deepcopy(self.generator).requires_grad_(False).eval()
        pair = [*self.encoder.parameters(), *self.generator.parameters()]
        self.pair_optimiser = optimisers.of_pair(pair, config.train)
        self.critic_optimiser = optimisers.of_critics(self.critics.parameters(), config.train)
        for optimiser in self.optimisers().values():
            for group in optimiser.param_groups:
                group["eps"] /= len(self.seeds)  # slopes are of the mean of the seeds' totals

    def update(self, batches: Batches) -> Losses:
        """As the ordinary trainer's; what it draws, each seed draws for itself."""
        rngs = [rng_for(seed, "update", self.step, self.device) for seed in self.seeds]
        with _OwnDraws(rngs):
            return super().update(batches)


class _OwnDraws(RowDraws):
    """Rows of random numbers come from their seed's generator, not from the one that is named."""

    def __init__(self, rngs: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.rngs = rngs

    def rows(self, draw: Draw, count: int, rng: torch.Generator) -> Tensor:
        """An equal share of them from each seed."""
        return torch.cat([draw(count // len(self.rngs), own) for own in self.rngs])
