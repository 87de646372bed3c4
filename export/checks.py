"""What networks must be before they become a bundle; each is a trap that others fell into."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import onnx
import torch
from torch import Tensor

from export import probes
from export.errors import BadNetworks
from export.graphs import Graph, Pair
from models.networks.labelled import told

ROWS: Final = 8
MATES_TOLERANCE: Final = 1e-4  # how far a code may depend on how many are computed at once

# Last operations that no normal code can come from, and those that reach beyond (-1, 1).
_BOUNDED: Final = frozenset({"Tanh", "Sigmoid", "HardSigmoid", "Softsign", "Softmax", "Clip"})
_ONE_SIDED: Final = frozenset({"Relu", "Softplus", "Exp", "Abs"})
_LINEAR: Final = frozenset({"Gemm", "MatMul", "Conv"})
_SHAPE_ONLY: Final = frozenset({"Flatten", "Reshape", "Squeeze", "Identity", "Transpose"})


def check_networks(pair: Pair, graphs: Mapping[str, Graph]) -> None:
    """Raise BadNetworks unless E and G fit the shapes, answer finitely and always the same."""
    with torch.no_grad():
        x = torch.from_numpy(probes.items(_checked_generator(pair), ROWS))
        labels = [torch.from_numpy(probes.labels(pair, ROWS))] if pair.classes else []
        z = graphs["encode"](x, *labels)
        if tuple(z.shape) != (ROWS, pair.latent):
            raise BadNetworks(f"E gives {_shape(z)} for {ROWS} items, not [{ROWS}, {pair.latent}]")
        if not torch.isfinite(z).all():
            raise BadNetworks("E gives codes that are not finite")
        for name, graph in graphs.items():
            given = (z if name == "decode" else x, *labels)
            if not all(map(torch.equal, _tuple(graph(*given)), _tuple(graph(*given)))):
                raise BadNetworks(
                    f"{name} gives another answer to the same input: a network draws random "
                    "numbers in eval mode"
                )
        rows = zip(*(each.split(1) for each in (x, *labels)), strict=True)
        alone = torch.cat([graphs["encode"](*row) for row in rows])
        if (alone - z).abs().max() > MATES_TOLERANCE:
            raise BadNetworks("E's code of an item depends on the other items of its batch")


def check_support(encode: onnx.ModelProto, pair: Pair, codes: np.ndarray) -> None:
    """Raise BadNetworks unless E can reach all of the prior, and only that.

    A normal prior needs a linear last layer: behind tanh 32 % of its mass in each dimension is
    out of reach.  A uniform(-1, 1) prior needs codes inside (-1, 1) for every image.

    Args:
        encode: The ONNX graph, whose last operation tells what E ends in.
        codes: E of the probes, [N, Z].
    """
    if pair.categorical:  # E ends in joining both parts, which only networks of models/ have
        free = codes[:, : -pair.categorical]
        if pair.prior == "uniform" and np.abs(free).max() > 1.0:
            raise BadNetworks("the prior is uniform on (-1, 1), and E reaches beyond it")
        return
    last = _last_operation(encode)
    if pair.prior == "normal":
        if last in _BOUNDED or last in _ONE_SIDED:
            raise BadNetworks(f"the prior is normal, but E ends in {last}, which cannot reach it")
        return
    reach = float(np.abs(codes).max())
    if last in _LINEAR or reach > 1.0:
        raise BadNetworks(
            f"the prior is uniform on (-1, 1), but E ends in {last} and reaches {reach:.2f}: "
            "it needs tanh"
        )


def _checked_generator(pair: Pair) -> Pair:
    x = told(pair.generator, None)(torch.from_numpy(probes.latents(pair, ROWS)))
    height_last = pair.shape[2:] + pair.shape[:2] if pair.is_image else pair.shape
    if tuple(x.shape) != (ROWS, *height_last):
        raise BadNetworks(f"G gives {_shape(x)} for {ROWS} codes, not {[ROWS, *height_last]}")
    if not torch.isfinite(x).all():
        raise BadNetworks("G gives values that are not finite")
    return pair


def _last_operation(model: onnx.ModelProto) -> str:
    """The operation that makes the first output, looking through those that only reshape."""
    makers = {output: node for node in model.graph.node for output in node.output}
    name = model.graph.output[0].name
    while name in makers and makers[name].op_type in _SHAPE_ONLY:
        name = makers[name].input[0]
    return str(makers[name].op_type) if name in makers else "nothing"


def _tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)
