"""Folded networks compute what the originals do, and hold no BatchNorm."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from export.errors import BadNetworks
from export.folding import Affine, folded
from small_pairs import image_pair, unsettle

CHAINS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    # name: the network, its input's shape, how many Affine must remain
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), (3, 7, 5), 0,
    ),
    "grouped convolution": (
        lambda: nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)), (4, 7, 5), 0,
    ),
    "transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 4, 2, 1, bias=False), nn.BatchNorm2d(4)),
        (3, 4, 5), 0,
    ),
    "grouped transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(4, 6, 4, groups=2), nn.BatchNorm2d(6)),
        (4, 4, 5), 1,
    ),
    "linear": (lambda: nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)), (6,), 0),
    "linear, unflatten": (
        lambda: nn.Sequential(nn.Linear(6, 24), nn.Unflatten(1, (4, 2, 3)), nn.BatchNorm2d(4)),
        (6,), 0,
    ),
    "norm first": (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), (3, 7, 5), 1),
    "norm after an activation": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), (3, 7, 5), 1,
    ),
    "norm alone": (lambda: nn.BatchNorm2d(3), (3, 7, 5), 1),
    "without weights": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)), (3, 7, 5), 0,
    ),
    "two norms": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)),
        (3, 7, 5), 1,
    ),
    "nested": (
        lambda: nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.ReLU()),
        (3, 7, 5), 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_a_folded_network_computes_the_same_without_a_norm(name: str) -> None:
    build, shape, left = CHAINS[name]
    torch.manual_seed(0)
    network = unsettle(build())
    x = torch.randn(5, *shape)
    plain = folded(network)
    torch.testing.assert_close(plain(x), network(x), rtol=1e-5, atol=1e-5)
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in plain.modules())
    assert sum(isinstance(m, Affine) for m in plain.modules()) == left


def test_folding_leaves_the_original_alone_and_takes_spectral_norm_along() -> None:
    encoder = image_pair().encoder
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    plain = folded(encoder)
    assert any("parametrizations" in name for name in before)
    assert not any("parametrizations" in name for name in plain.state_dict())
    assert before.keys() == encoder.state_dict().keys()
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    x = torch.randn(3, 1, 16, 16)
    torch.testing.assert_close(plain(x), encoder(x), rtol=1e-5, atol=1e-5)


def test_a_norm_without_statistics_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False))
    with pytest.raises(BadNetworks, match="batch mates"):
        folded(network)
