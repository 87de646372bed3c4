"""A network that is an ONNX file, used as a torch module: run by onnxruntime, exported as it is.

In torch's exporter such a network leaves one node behind, in whose place `inline` puts the nodes of
the file; so the graphs around it are written once, for networks of either kind.
"""

import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import onnx
import onnxruntime as ort
import torch
from onnx import inliner, version_converter
from torch import Tensor, nn

from export.errors import BadForeign

DOMAIN: Final = "biject"  # of the node left behind
_OWN: Final = ("", "ai.onnx")  # the names of ONNX's own set of operations


class OnnxNetwork(nn.Module):
    """The network in an ONNX file of one float32 input and one float32 output.

    Args:
        path: The file.
        label: Names its node and its weights; no other network of a graph may have it.
        opset: What its operations are converted to.
    Raises:
        BadForeign: the file cannot be read, run or converted, or is of another kind.
    """

    def __init__(self, path: Path, *, label: str, opset: int) -> None:
        super().__init__()
        self.path, self.label = path, label
        self._row: tuple[int, ...] = ()  # the shape of an answer, known once one was given
        try:
            model = onnx.load(path)
            self._session = _session(path)
        # Whatever protobuf, onnx and onnxruntime raise on bytes that are no graph.
        except Exception as error:
            raise BadForeign(f"{path} cannot be read as ONNX: {first_line(error)}") from error
        self.model = _converted(model, path, opset)
        self.given, self.made = (
            _only(path, kind, values)
            for kind, values in (
                ("input", self._session.get_inputs()),
                ("output", self._session.get_outputs()),
            )
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnnxNetwork":
        """Itself: nothing of it ever changes, and a session cannot be copied."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        """What the file's graph makes of x.  Raises BadForeign where it cannot."""
        if torch.onnx.is_in_onnx_export():
            return torch.onnx.ops.symbolic(
                f"{DOMAIN}::{self.label}", (x,), dtype=torch.float32, shape=[x.shape[0], *self._row]
            )
        try:
            (made,) = self._session.run(None, {self.given.name: x.numpy()})
        # onnxruntime's errors have no common base.
        except Exception as error:
            raise BadForeign(
                f"{self.path} does not run on {list(x.shape)}: {first_line(error)}"
            ) from error
        self._row = made.shape[1:]
        return torch.from_numpy(made)


def inline(model: onnx.ModelProto, networks: Iterable[nn.Module]) -> None:
    """Put each OnnxNetwork among `networks` in the place of the nodes that stand for it."""
    by_label = {net.label: net for net in networks if isinstance(net, OnnxNetwork)}
    if not by_label:
        return
    nodes: list[onnx.NodeProto] = []
    for number, node in enumerate(model.graph.node):
        if node.domain == DOMAIN:
            nodes += _body(by_label[node.op_type], node, number)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    domains = {each.domain for each in model.opset_import}
    for network in by_label.values():
        for tensor in network.model.graph.initializer:
            model.graph.initializer.add().CopyFrom(tensor)
            model.graph.initializer[-1].name = f"{network.label}.{tensor.name}"
        for other in network.model.opset_import:
            if other.domain not in (*domains, *_OWN):
                model.opset_import.add().CopyFrom(other)
                domains.add(other.domain)
    for each in [each for each in model.opset_import if each.domain == DOMAIN]:
        model.opset_import.remove(each)


def first_line(error: Exception) -> str:
    """What an error says first, short enough for a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


def _body(network: OnnxNetwork, node: onnx.NodeProto, number: int) -> list[onnx.NodeProto]:
    """The network's nodes between the tensors of `node`; a network may be in a graph twice."""
    weights = {tensor.name for tensor in network.model.graph.initializer}
    ends = {network.given.name: node.input[0], network.made.name: node.output[0]}

    def renamed(name: str) -> str:
        if name in ends or not name:  # an optional input that is left out has no name
            return ends.get(name, name)
        return f"{network.label}.{name}" if name in weights else f"{network.label}{number}.{name}"

    body = [copy.deepcopy(each) for each in network.model.graph.node]
    _rename(body, renamed)
    return body


def _rename(nodes: Iterable[onnx.NodeProto], renamed: Callable[[str], str]) -> None:
    """Rename every tensor, in the graphs inside of If and Loop too."""
    for node in nodes:
        node.name = renamed(node.name)
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
        for attribute in node.attribute:
            for graph in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                _rename(graph.node, renamed)
                for value in [*graph.input, *graph.output, *graph.initializer, *graph.value_info]:
                    value.name = renamed(value.name)


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3  # its warnings are for whoever writes the file
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _converted(model: onnx.ModelProto, path: Path, opset: int) -> onnx.ModelProto:
    """The model without functions of its own, in `opset`."""
    if model.functions:
        model = inliner.inline_local_functions(model)
    found = next((each.version for each in model.opset_import if each.domain in _OWN), None)
    if found == opset:
        return model
    try:
        return version_converter.convert_version(model, opset)
    # The converter, C++ inside, raises RuntimeError and errors of its own.
    except Exception as error:
        raise BadForeign(
            f"{path} is of opset {found} and cannot be converted to {opset}: "
            f"{first_line(error)}; export it with opset_version={opset}"
        ) from error


def _only(path: Path, kind: str, values: list[Any]) -> Any:
    """The one input or output there is, float32 with a free batch axis."""
    if len(values) != 1:
        names = ", ".join(value.name for value in values) or "none"
        raise BadForeign(f"{path} must have one {kind}, it has {len(values)}: {names}")
    (value,) = values
    if value.type != "tensor(float)":
        raise BadForeign(f"{path}: its {kind} {value.name} must be float32, it is {value.type}")
    if not value.shape or (isinstance(value.shape[0], int) and kind == "input"):
        raise BadForeign(
            f"{path}: the first axis of its {kind} {value.name} is {value.shape[:1] or 'missing'}, "
            "but batches are of any size: export it with a free batch axis"
        )
    return value


def sizes(value: Any) -> tuple[int | None, ...]:
    """The sizes of an input or output behind the batch axis; None where they are free."""
    return tuple(size if isinstance(size, int) else None for size in value.shape[1:])
