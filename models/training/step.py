"""One update of a run: critics first, then G and E.  No files, no clock, no logger."""

from collections.abc import Iterator
from copy import deepcopy
from typing import TypeVar

import torch
from torch import nn

from models import choices, networks, objectives, pairings, regularisers
from models.config import Config
from models.networks.holding import held
from models.networks.labelled import told
from models.objectives.objective import Objective
from models.pairings.pairing import Pass, Turn
from models.pairings.terms import Losses
from models.regularisers.view import changed, noisy
from models.training import optimisers
from models.training.averaging import average_into, estimate_batchnorm
from models.training.batches import Batches, draw_prior, rng_for, seed_of
from models.training.polish import polish_loss
from models.training.unrolling import unrolled_loss
from models.training.workers import ALONE, Workers

BATCHNORM_BATCHES = 50
_Network = TypeVar("_Network", bound=nn.Module)


class Trainer:
    """The networks of one run, their optimisers and averages, and how they advance.

    Everything random is drawn from (seed, number of the update), so two trainers with equal
    weights and optimisers advance alike.
    """

    def __init__(self, config: Config, device: torch.device, workers: Workers = ALONE) -> None:
        self.config = config = choices.resolve(config)
        self.device, self.workers = device, workers
        if workers.count > 1:
            choices.check_shared(config)
        self.regularisers = regularisers.parse(config.regularisers)
        self.objective: Objective = objectives.build(config)
        self.pairing = pairings.build(config, self.regularisers, self.objective.head)
        with torch.random.fork_rng(devices=[]):  # modules initialise from the global generator
            torch.manual_seed(seed_of(config.train.seed, "weights", 0))
            encoder = networks.build_encoder(config.model)
            generator = networks.build_generator(config.model)
            critics = self.pairing.build_critics(config.model)
        self.encoder, self.generator = _placed(encoder, device), _placed(generator, device)
        self.critics = _placed(critics, device)
        self.averaged_encoder = deepcopy(self.encoder).requires_grad_(False).eval()
        self.averaged_generator = deepcopy(self.generator).requires_grad_(False).eval()
        # after the averages, whose statistics each worker measures on whole batches
        self.encoder = workers.synchronised(self.encoder, device)
        self.generator = workers.synchronised(self.generator, device)
        pair = [*self.encoder.parameters(), *self.generator.parameters()]
        self.pair_optimiser = optimisers.of_pair(pair, config.train)
        self.critic_optimiser = optimisers.of_critics(self.critics.parameters(), config.train)
        self.polish_optimiser = optimisers.of_pair(self.encoder.parameters(), config.train)
        if config.train.compile:
            for network in (self.encoder, self.generator, *self.critics.values()):
                network.compile()
        self.step = 0
        self.polishing = False

    @property
    def turns(self) -> int:
        """Batches that the update just done has seen."""
        return 1 if self.polishing else self.config.train.critic_steps

    def update(self, batches: Batches) -> Losses:
        """One update of G and E after `critic_steps` of the critics, or one that polishes E.

        Returns:
            Detached scalars by name, as "critic/NAME" and "pair/NAME"; without a critic, while it
            warms up, or while E is polished, only one of the two.
        """
        train = self.config.train
        self._set_rates()
        if self.step >= train.steps - train.polish:
            losses = self._polish(batches)
        else:
            with self.workers.draws():
                losses = self._play(batches)
        self.step += 1
        begun = train.steps - train.polish if self.polishing else 0
        for average, network in self._averages():
            average_into(average, network, decay=train.ema, step=self.step - begun)
        return losses

    def _play(self, batches: Batches) -> Losses:
        self._mode(polishing=False)
        train = self.config.train
        rng = rng_for(train.seed, "update", self.step, self.device)
        self.pairing = self.pairing.at(self.step)
        critic: Losses = {}
        for turn in range(train.critic_steps):
            number = self.step * train.critic_steps + turn
            x = self.workers.own(batches.at(number))
            labels = self._own_labels(batches, number)
            z = draw_prior(self.config.model, len(x), rng, self.device)
            encoder, generator = told(self.encoder, labels), told(self.generator, labels)
            critics = self._told_critics(labels)
            last = turn == train.critic_steps - 1
            with torch.set_grad_enabled(last), self._precision():
                batch = self.pairing.forward(encoder, generator, x, z, rng)
            if self.critic_optimiser:
                seen = self._turn(x, rng, number)
                critic = self._critic_step(self.critic_optimiser, critics, batch.detached(), seen)
                if (number + 1) % batches.per_epoch == 0:
                    self.objective = self.objective.after_epoch()
        pair = {}
        if not self.objective.warming:
            pair = self._pair_step(critics, batch, self._turn(x, rng, 0))
        losses = {f"critic/{name}": loss.detach() for name, loss in critic.items()}
        return losses | {f"pair/{name}": loss.detach() for name, loss in pair.items()}

    def _own_labels(self, batches: Batches, number: int) -> torch.Tensor | None:
        """This worker's labels of batch `number`; None where the model is told none."""
        labels = batches.labels_at(number)
        return None if labels is None else self.workers.own(labels)

    def _told_critics(self, labels: torch.Tensor | None) -> nn.ModuleDict:
        return nn.ModuleDict({name: told(each, labels) for name, each in self.critics.items()})

    def _turn(self, x: torch.Tensor, rng: torch.Generator, number: int) -> Turn:
        """How critics look at items in one update; what it draws is drawn here, or at each look."""
        chosen, train = self.regularisers, self.config.train
        looks = []
        if chosen.augment:
            looks.append(changed(chosen.augment, x, rng))
        if chosen.instance_noise:
            sigma = chosen.instance_noise.at(self.step, train.steps - train.polish)
            looks.append(noisy(sigma, rng))

        def view(items: torch.Tensor) -> torch.Tensor:
            for look in looks:
                items = look(items)
            return items

        return Turn(rng=rng, update=number, view=view)

    def _critic_step(
        self,
        optimiser: torch.optim.Optimizer,
        critics: nn.ModuleDict,
        batch: Pass,
        turn: Turn,
    ) -> Losses:
        with self._precision():
            losses: Losses = self.pairing.critic_loss(critics, batch, self.objective, turn)
        losses = optimisers.descend(optimiser, losses, self.workers)
        optimisers.constrain(self.critics, self.regularisers)
        self.objective = self.objective.after(losses)
        state = self.objective.shown()
        return losses | {n: torch.tensor(v, device=self.device) for n, v in state.items()}

    def _pair_step(self, critics: nn.ModuleDict, batch: Pass, turn: Turn) -> Losses:
        unrolled = self.regularisers.unrolled
        with held(critics), self._precision():
            game = self.pairing, critics, batch, self.objective, turn
            losses = (
                unrolled_loss(*game, unrolled) if unrolled else self.pairing.pair_loss(*game[1:])
            )
            losses = optimisers.descend(self.pair_optimiser, losses, self.workers)
        return losses

    def _polish(self, batches: Batches) -> Losses:
        """One step of E by residuals, against G and critics as they are."""
        if not self.polishing:
            self._begin_polishing(batches)
        self._mode(polishing=True)
        train = self.config.train
        number = self.step * train.critic_steps
        x = self.workers.own(batches.at(number))
        labels = self._own_labels(batches, number)
        critics = self._told_critics(labels)
        with held(self.generator), held(self.critics), self._precision():
            losses = polish_loss(
                told(self.encoder, labels),
                told(self.generator, labels),
                lambda x, z: self.pairing.features(critics, x, z),
                x,
                weight=train.polish_feature,
            )
            losses = optimisers.descend(self.polish_optimiser, losses, self.workers)
        return {f"pair/{name}": loss.detach() for name, loss in losses.items()}

    def _begin_polishing(self, batches: Batches) -> None:
        """G and E become their averages, since it is those that are exported."""
        self.refresh_batchnorm(batches)
        for average, network in self._averages():
            network.load_state_dict(average.state_dict())
        self.polish_optimiser = optimisers.of_pair(self.encoder.parameters(), self.config.train)
        self._set_rates()

    def _mode(self, *, polishing: bool) -> None:
        self.polishing = polishing
        self.generator.train(not polishing)
        self.critics.train(not polishing)

    def refresh_batchnorm(self, batches: Batches) -> None:
        """Measure the averaged networks' BatchNorm statistics; see `estimate_batchnorm`.

        Of a G against which E is polished they stay as they are.
        """

        def draws() -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
            rng = rng_for(self.config.train.seed, "batchnorm", self.step, self.device)
            for i in range(BATCHNORM_BATCHES):
                x = batches.at(i)
                z = draw_prior(self.config.model, len(x), rng, self.device)
                yield x, z, batches.labels_at(i)

        generator = None if self.polishing else self.averaged_generator
        codes = not self.pairing.encoder_rests
        estimate_batchnorm(self.averaged_encoder, generator, draws(), codes=codes)

    def modules(self) -> dict[str, nn.Module]:
        """Every network by the name its weights are stored under."""
        return {
            "encoder": self.encoder,
            "generator": self.generator,
            "critics": self.critics,
            "ema.encoder": self.averaged_encoder,
            "ema.generator": self.averaged_generator,
        }

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Every optimiser by the name its state is stored under."""
        found = {
            "pair_optimiser": self.pair_optimiser,
            "critic_optimiser": self.critic_optimiser,
            "polish_optimiser": self.polish_optimiser if self.config.train.polish else None,
        }
        return {name: optimiser for name, optimiser in found.items() if optimiser}

    def first_bad_weight(self) -> str | None:
        """The name of a weight that is not finite, or None."""
        for prefix, module in self.modules().items():
            for name, value in module.state_dict().items():
                if value.is_floating_point() and not bool(value.isfinite().all()):
                    return f"{prefix}.{name}"
        return None

    def _averages(self) -> tuple[tuple[nn.Module, nn.Module], ...]:
        return (
            (self.averaged_encoder, self.encoder),
            (self.averaged_generator, self.generator),
        )

    def _set_rates(self) -> None:
        train = self.config.train
        left = 1 - self.step / train.steps
        factor = min(1.0, left / train.lr_decay) if train.lr_decay else 1.0
        for name, optimiser in self.optimisers().items():
            rate = train.critic_lr if name == "critic_optimiser" else train.lr
            for group in optimiser.param_groups:
                group["lr"] = rate * factor

    def _precision(self) -> torch.autocast:
        bf16 = self.config.train.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=bf16)


def critics_of(config: Config) -> nn.ModuleDict:
    """The critics of a config's game, with fresh weights."""
    config = choices.resolve(config)
    head = objectives.build(config).head
    pairing = pairings.build(config, regularisers.parse(config.regularisers), head)
    return pairing.build_critics(config.model)


def _placed(network: _Network, device: torch.device) -> _Network:
    """`network` on the device, in place; NHWC in memory is a fifth faster on a CPU."""
    # torch's annotations lack memory_format
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
