"""Averages, BatchNorm statistics, batches and rates against numpy."""

import threading
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.config import Config, ModelConfig
from models.datasets.dataset import Dataset
from models.datasets.pixels import to_float, to_uint8
from models.training import health
from models.training.averaging import average_into, estimate_batchnorm
from models.training.batches import Batches, Purpose, draw_prior, rng_for
from models.training.step import Trainer

CPU = torch.device("cpu")


def tiny(**train: object) -> Config:
    model = {"image": [16, 16, 1], "latent": 3, "width": 4}
    return Config.from_dict({"model": model, "train": {"batch": 4, **train}})


def images(n: int) -> Dataset:
    return Dataset(images=np.random.default_rng(0).integers(0, 256, (n, 16, 16, 1), np.uint8))


def test_pixels_round_clip_and_come_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    assert to_float(levels)[0, 0, 0, 0] == -1
    assert to_float(levels)[0, 0, 15, 15] == 1
    assert torch.equal(to_uint8(to_float(levels)), levels)
    between = torch.tensor([0.4, 0.6, 2.4, -9.0, 300.0]).reshape(1, 1, 1, 5) / 127.5 - 1
    assert to_uint8(between).flatten().tolist() == [0, 1, 2, 0, 255]


def test_the_average_warms_up_and_then_decays() -> None:
    average, network = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    values = [1.0, 4.0, -2.0, 8.0]
    nn.init.constant_(average.weight, 0.5)
    expected = 0.5
    for step, value in enumerate(values, 1):
        nn.init.constant_(network.weight, value)
        average_into(average, network, decay=0.3, step=step)
        keep = min(0.3, (1 + step) / (10 + step))  # 2/11, 3/12, 4/13 -> 0.3, 0.3
        expected = keep * expected + (1 - keep) * value
    assert average.weight.item() == pytest.approx(expected, rel=1e-6)


def test_batchnorm_statistics_are_the_means_over_all_batches() -> None:
    linear, norm, mixed_norm = nn.Linear(3, 2, bias=False), nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    encoder, generator = nn.Sequential(linear, norm), nn.Sequential(mixed_norm, nn.Linear(2, 3))
    batches = [(torch.randn(8, 3), torch.randn(8, 2), None) for _ in range(5)]
    estimate_batchnorm(encoder, generator, batches)
    weight = linear.weight.detach().numpy()
    hidden = [x.numpy() @ weight.T for x, _, _ in batches]
    assert norm.running_mean is not None
    assert norm.running_var is not None
    np.testing.assert_allclose(
        norm.running_mean, np.mean([h.mean(0) for h in hidden], 0), rtol=1e-4
    )
    np.testing.assert_allclose(
        norm.running_var, np.mean([h.var(0, ddof=1) for h in hidden], 0), rtol=1e-4
    )
    # G serves prior draws and codes: its statistics are of both together
    codes = [(h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5) for h in hidden]
    mixed = [np.concatenate([z.numpy(), c]) for (_, z, _), c in zip(batches, codes, strict=True)]
    assert mixed_norm.running_mean is not None
    np.testing.assert_allclose(
        mixed_norm.running_mean, np.mean([m.mean(0) for m in mixed], 0), atol=1e-5
    )
    assert not encoder.training
    assert norm.momentum == 0.1


def test_an_epoch_shows_every_item_once_and_the_next_another_order() -> None:
    data = Dataset(images=np.arange(10, dtype=np.float32).reshape(10, 1))
    batches = Batches(data, batch=5, seed=1, device=CPU)
    epochs = [torch.cat([batches.at(2 * e), batches.at(2 * e + 1)]).flatten() for e in range(2)]
    assert [sorted(e.tolist()) for e in epochs] == [list(range(10))] * 2
    assert epochs[0].tolist() != epochs[1].tolist()
    again = Batches(data, batch=5, seed=1, device=CPU)
    assert torch.equal(again.at(3), batches.at(3))  # no state: batch 3 without 0 to 2
    assert len(Batches(data, batch=64, seed=1, device=CPU).at(0)) == 10


def test_the_next_batch_is_gathered_by_a_thread_and_any_order_gives_the_same() -> None:
    gatherers = []

    class Watched(Batches):
        def _gathered(self, number: int) -> np.ndarray:
            gatherers.append((number, threading.current_thread().name.split("_")[0]))
            return super()._gathered(number)

    data = images(40)
    numbers = (0, 1, 2, 2, 7, 1, 2, 30)
    batches = Watched(data, batch=8, seed=3, device=CPU, flip=True)
    seen = [batches.at(number) for number in numbers]
    for number, batch in zip(numbers, seen, strict=True):
        alone = Batches(data, batch=8, seed=3, device=CPU, flip=True)
        assert torch.equal(batch, alone.at(number))
    batches._reader.shutdown()
    ahead = [number for number, thread in gatherers if thread == "batches"]
    assert ahead == [1, 2, 3, 8, 2, 3, 31]
    at_once = [number for number, thread in gatherers if thread != "batches"]
    assert at_once == [0, 2, 7, 1, 30]


def test_half_of_the_images_are_mirrored() -> None:
    data = Dataset(images=np.random.default_rng(0).integers(0, 256, (64, 4, 6, 3), np.uint8))
    plain, turned = (Batches(data, batch=32, seed=1, device=CPU, flip=f) for f in (False, True))
    share = 0
    for number in range(20):
        for before, after in zip(plain.at(number), turned.at(number), strict=True):
            mirrored = torch.equal(after, before[:, :, [5, 4, 3, 2, 1, 0]])
            assert mirrored or torch.equal(after, before)
            share += mirrored
    assert share / 640 == pytest.approx(0.5, abs=0.08)  # four standard deviations
    again = Batches(data, batch=32, seed=1, device=CPU, flip=True)
    assert torch.equal(again.at(7), turned.at(7))
    coins = [
        [torch.equal(a, b) for a, b in zip(plain.at(n), turned.at(n), strict=True)] for n in (0, 2)
    ]
    assert coins[0] != coins[1]  # each epoch tosses anew


def test_draws_follow_the_prior_and_the_step() -> None:
    normal = ModelConfig(vector=2, latent=2)
    one = draw_prior(normal, 20_000, rng_for(0, "update", 1, CPU), CPU)
    two = draw_prior(replace(normal, prior="uniform"), 20_000, rng_for(0, "update", 1, CPU), CPU)
    assert one.std().item() == pytest.approx(1, abs=0.02)
    assert (two.min().item(), two.max().item()) == pytest.approx((-1, 1), abs=1e-3)
    other = draw_prior(normal, 20_000, rng_for(0, "update", 2, CPU), CPU)
    assert not torch.equal(one, other)


def test_the_last_numbers_of_a_mixed_draw_are_one_category_of_equally_many() -> None:
    mixed = ModelConfig(vector=2, latent=6, categorical=4, prior="uniform")
    z = draw_prior(mixed, 20_000, rng_for(0, "update", 1, CPU), CPU)
    free, category = z[:, :2], z[:, 2:]
    assert set(category.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(category.sum(1), torch.ones(20_000))
    assert category.mean(0).tolist() == pytest.approx([0.25] * 4, abs=0.01)
    assert free.std().item() == pytest.approx(3**-0.5, abs=0.01)


@pytest.mark.parametrize("pairing", ["aegan", "bigan"])
def test_an_update_moves_g_e_and_every_critic(pairing: str) -> None:
    config = Config.from_dict(
        {
            "model": {"pairing": pairing, "image": [16, 16, 1], "latent": 3, "width": 4},
            "train": {"batch": 4, "critic_steps": 2},
        }
    )
    trainer = Trainer(config, CPU)
    networks = {"e": trainer.encoder, "g": trainer.generator, **dict(trainer.critics.items())}
    before = {
        n: [p.detach().clone() for p in network.parameters()] for n, network in networks.items()
    }
    losses = trainer.update(Batches(images(16), batch=4, seed=0, device=CPU))
    assert all(loss.isfinite() for loss in losses.values())
    for name, network in networks.items():
        for old, new in zip(before[name], network.parameters(), strict=True):
            assert not torch.equal(old, new), name
            assert new.requires_grad


def test_each_turn_of_the_critics_has_a_batch_and_draws_of_its_own() -> None:
    asked: list[int] = []
    drawn: list[torch.Tensor] = []

    class Watched(Batches):
        def at(self, number: int) -> torch.Tensor:
            asked.append(number)
            return super().at(number)

    trainer = Trainer(tiny(critic_steps=3), CPU)
    batches = Watched(images(16), batch=4, seed=0, device=CPU)
    trainer.generator.register_forward_pre_hook(lambda network, z: drawn.append(z[0][:4]))
    for _ in range(2):
        trainer.update(batches)
    assert asked == [0, 1, 2, 3, 4, 5]
    assert len(torch.cat(drawn).unique(dim=0)) == 6 * 4


def test_learning_rates_fall_over_the_last_share_of_the_steps() -> None:
    trainer = Trainer(tiny(steps=10, lr=1.0, critic_lr=0.5, lr_decay=0.4), CPU)
    batches = Batches(images(8), batch=4, seed=0, device=CPU)
    rates = []
    for _ in range(10):
        trainer.update(batches)
        rates.append(
            (
                trainer.pair_optimiser.param_groups[0]["lr"],
                trainer.optimisers()["critic_optimiser"].param_groups[0]["lr"],
            )
        )
    assert [r for r, _ in rates] == pytest.approx([1] * 7 + [0.75, 0.5, 0.25])
    assert [c for _, c in rates] == pytest.approx([0.5] * 7 + [0.375, 0.25, 0.125])


def test_weights_and_noise_follow_their_schedules_through_a_run() -> None:
    table: dict[str, Any] = {
        "model": {"pairing": "aae", "image": [16, 16, 1], "latent": 3, "width": 4},
        "weights": {"image": {"from": 8, "to": 2, "steps": 3}, "critic_latent": 0.5},
        "train": {"batch": 4, "steps": 6},
    }
    trainer = Trainer(Config.from_dict(table), CPU)
    batches = Batches(images(8), batch=4, seed=0, device=CPU)
    for weight in (8, 6, 4, 2, 2):
        part = {name.removeprefix("pair/"): one for name, one in trainer.update(batches).items()}
        expected = weight * part["image"] + 0.5 * part["code"]
        assert part["total"].item() == pytest.approx(expected.item(), rel=1e-5)
    noisy = {**table, "model": table["model"] | {"pairing": "aegan"}, "weights": {},
             "regularisers": {"instance_noise": 0.6}}  # fmt: skip
    trainer, x = Trainer(Config.from_dict(noisy), CPU), torch.zeros(64, 1, 16, 16)
    for step, sigma in ((0, 0.6), (3, 0.3), (5, 0.1)):  # over all six steps
        trainer.step = step
        seen = trainer._turn(x, rng_for(0, "update", step, CPU), 0).view(x)
        assert seen.std().item() == pytest.approx(sigma, rel=0.05)


def test_seeds_decide_the_first_weights() -> None:
    def first(seed: int) -> torch.Tensor:
        return next(Trainer(tiny(seed=seed), CPU).encoder.parameters())

    before = torch.get_rng_state()
    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))
    assert torch.equal(torch.get_rng_state(), before)  # a caller's own randomness is left alone


def test_health_of_a_pair_that_is_known() -> None:
    x = torch.rand(50, 1, 4, 4) * 2 - 1

    class Halve(nn.Module):
        def forward(self, codes: torch.Tensor) -> torch.Tensor:
            return codes.reshape(-1, 1, 4, 4) / 2

    measured = health.measure(encoder=nn.Flatten(), generator=Halve(), x=x)
    own = x.numpy().reshape(50, -1)
    assert measured["reconstruction"] == pytest.approx(np.abs(own / 2).mean() / 2, rel=1e-4)
    ratio = np.linalg.norm(own / 2, axis=1).mean()
    ratio /= np.linalg.norm(own - np.roll(own, 1, 0) / 2, axis=1).mean()
    assert measured["reconstruction_ratio"] == pytest.approx(ratio, rel=1e-4)
    assert measured["code_std"] == pytest.approx(own.std(0, ddof=1).mean(), rel=1e-4)
    assert measured["code_mean"] == pytest.approx(np.abs(own.mean(0)).max(), rel=1e-3)


def test_purposes_do_not_share_their_randomness() -> None:
    purposes: tuple[Purpose, ...] = ("update", "batchnorm", "pictures")
    seeds = [rng_for(0, p, n, CPU).initial_seed() for p in purposes for n in range(3)]
    assert Counter(seeds).most_common(1)[0][1] == 1
