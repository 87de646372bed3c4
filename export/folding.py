"""Networks made ready for export: plain weights, no BatchNorm.

BatchNorm is folded here and not left to the exporter.  The exporter folds it where a network is
used once and leaves it where the network is used twice (E in `score`), so that the graphs of one
bundle would hold different bytes for the same weights, and could not share them.
"""

import copy
import math
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from export.errors import BadNetworks

_Network = TypeVar("_Network", bound=nn.Module)
_Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
_Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
_Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


class Affine(nn.Module):
    """x * scale + shift per channel: a BatchNorm in eval mode with no linear layer to join."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale.float())
        self.register_buffer("shift", shift.float())

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] to the same shape."""
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return x * self.scale.view(shape) + self.shift.view(shape)


def folded(network: _Network) -> _Network:
    """A copy of `network` in eval mode that computes the same without any BatchNorm.

    A norm right behind a convolution or a linear layer of the same nn.Sequential is multiplied
    into it, also through an Unflatten; any other becomes `Affine`.  Parametrisations (spectral
    norm) become plain weights.
    Raises BadNetworks for a norm without running statistics: it would depend on its batch.
    """
    holder = nn.Sequential(copy.deepcopy(network).eval().requires_grad_(False))
    for module in list(holder.modules()):
        if parametrize.is_parametrized(module):
            _freeze(module)
    for module in list(holder.modules()):
        if isinstance(module, nn.Sequential):
            _fold_chain(module)
    for module in list(holder.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, _Norm):
                setattr(module, name, Affine(*_scale_and_shift(child)))
    return cast(_Network, holder.requires_grad_(False)[0])


def _freeze(module: nn.Module) -> None:
    """Make the values that parametrisations compute plain weights, in place.

    Not by torch's remove_parametrizations: it takes the property off a class that a copied module
    shares with its original, and breaks the original.
    """
    names = list(module.get_submodule("parametrizations")._modules)
    values = {name: getattr(module, name).detach().clone() for name in names}
    plain = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    module.__class__ = plain
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value))


def _scale_and_shift(norm: _Norm) -> tuple[Tensor, Tensor]:
    """The two float64 [C] numbers per channel that a norm comes to in eval mode."""
    if norm.running_mean is None or norm.running_var is None:
        raise BadNetworks("a BatchNorm without running statistics depends on its batch mates")
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift + norm.bias.double() if norm.affine else shift


def _fold_chain(chain: nn.Sequential) -> None:
    """Multiply each norm of a chain into the linear layer before it, where there is one."""
    for position, norm in enumerate(chain):
        if not isinstance(norm, _Norm) or position == 0:
            continue
        before = chain[position - 1]
        repeat = 1  # features of the layer per channel of the norm
        if isinstance(before, nn.Unflatten) and before.dim == 1 and position > 1:
            repeat = math.prod(before.unflattened_size[1:])
            before = chain[position - 2]
        if _fold_into(before, norm, repeat):
            chain[position] = nn.Identity()


def _fold_into(layer: nn.Module, norm: _Norm, repeat: int) -> bool:
    """Change `layer` in place so that it does the norm's work too; False where it cannot."""
    scale, shift = (each.repeat_interleave(repeat) for each in _scale_and_shift(norm))
    if isinstance(layer, _Transposed):
        across = (1, -1)  # weights [in, out, ...]
        if layer.groups != 1:
            return False
    elif isinstance(layer, _Convolution | nn.Linear):
        across = (-1, 1)  # weights [out, in, ...]
        if len(layer.weight) != len(scale):
            return False
    else:
        return False
    weight = layer.weight.double()
    bias = torch.zeros_like(scale) if layer.bias is None else layer.bias.double()
    shape = across + (1,) * (weight.dim() - 2)
    layer.weight = nn.Parameter((weight * scale.view(shape)).float())
    layer.bias = nn.Parameter((bias * scale + shift).float())
    return True
