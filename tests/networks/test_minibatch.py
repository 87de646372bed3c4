"""What a critic sees of a batch, against slow formulas; and that reals never meet fakes there."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from games import GAN, build, config, rng, turn
from models import networks, pairings
from models.networks.minibatch import KERNELS, SIZE, BatchKernel, BatchStd, looks_at_batches
from models.networks.once import Once
from models.pairings.scores import scores


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_std_adds_the_mean_deviation_to_every_item() -> None:
    features = drawn(1, 6, 4)
    found = BatchStd()(features)
    spread = np.mean([np.std(features.numpy()[:, i]) for i in range(4)])
    torch.testing.assert_close(found[:, :4], features)
    np.testing.assert_allclose(found[:, 4].numpy(), np.full(6, spread), rtol=1e-5)


def test_kernel_adds_how_near_all_others_are() -> None:
    torch.manual_seed(0)
    layer, features = BatchKernel(4), 0.1 * drawn(1, 5, 4)
    found = layer(features).detach().numpy()
    rows = (features @ layer.project.weight.T).detach().numpy().reshape(5, KERNELS, SIZE)
    for i in range(5):
        for b in range(0, KERNELS, 7):
            near = sum(np.exp(-np.abs(rows[i, b] - rows[j, b]).sum()) for j in range(5) if j != i)
            assert found[i, 4 + b] == pytest.approx(near, rel=1e-4)
    np.testing.assert_allclose(found[:, :4], features.numpy())


def test_a_batch_of_one_thing_stands_out() -> None:
    torch.manual_seed(0)
    same = drawn(1, 1, 4).expand(8, 4)
    assert BatchStd()(same)[:, 4].abs().max() < 1e-3
    torch.testing.assert_close(BatchKernel(4)(same)[:, 4:], torch.full((8, KERNELS), 7.0))


@pytest.mark.parametrize("kind", ["std", "kernel"])
@pytest.mark.parametrize("name", [n for n in pairings.PAIRINGS if n != "aae"])
def test_reals_are_judged_among_reals_and_fakes_among_fakes(
    name: str, kind: str, x: Tensor, z: Tensor
) -> None:
    model = {"critic_minibatch": kind}
    made, pairing = config(name, model=model), build(name, model=model)
    pair = networks.build_encoder(made.model), networks.build_generator(made.model)
    critics = pairing.build_critics(made.model)
    sees = {key for key, critic in critics.items() if looks_at_batches(critic)}
    assert sees == set(critics) - {"latent"}
    batch = pairing.forward(*pair, x, z, rng())
    sizes: list[int] = []

    def watched(module: Any, given: tuple[Tensor, ...], out: Tensor) -> None:
        sizes.append(len(given[0]))

    for key in sees:
        critics[key].register_forward_hook(watched)
    pairing.critic_loss(critics, batch.detached(), GAN, turn())
    pairing.pair_loss(critics, batch, GAN, turn())
    assert set(sizes) == {len(x)}  # each sort alone


def test_without_it_all_sorts_are_judged_in_one_pass() -> None:
    critic = networks.build_image_critic(config("aegan").model)
    assert not looks_at_batches(critic)
    one, other = drawn(1, 4, 3), drawn(2, 6, 3)
    first, second = scores(critic, one, other)
    torch.testing.assert_close(first, critic(one))
    torch.testing.assert_close(second, critic(other))


def test_a_critic_that_remembers_is_asked_about_each_part() -> None:
    seen: list[int] = []

    class First(torch.nn.Module):
        def features(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return x

        def judged(self, features: Tensor) -> Tensor:
            return features[:, 0]

    critic, parts = Once(First()), (drawn(1, 4, 3), drawn(2, 6, 3))
    for _ in range(2):
        for part, score in zip(parts, scores(critic, *parts), strict=True):
            assert torch.equal(score, part[:, 0])
    assert seen == [4, 6]
    assert torch.equal(critic.features(parts[1].clone()), parts[1])  # the same tensor, not equal
    assert seen == [4, 6, 6]


def test_images_too() -> None:
    model = {"network": "dcgan", "image": [16, 16, 1], "vector": None, "width": 4}
    for kind in ("std", "kernel"):
        made = config("aegan", model={**model, "critic_minibatch": kind})
        critic = networks.build_image_critic(made.model)
        assert critic(drawn(1, 4, 1, 16, 16)).shape == (4,)
