"""Torch graphs to ONNX protocols: quiet, with a free batch axis, and nothing of this machine."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import onnx
import torch

from export import onnx_network
from export.errors import BadNetworks
from export.graphs import Graph, Pair, example

OPSET: Final = 20
BATCH_AXIS: Final = "N"
_EXPORTER_LOG: Final = "torch.onnx._internal.exporter._registration"


def to_onnx(graph: Graph, pair: Pair) -> onnx.ModelProto:
    """`graph` as a checked ONNX model with all its weights inside.

    The batch axis of every input and output is free.  An example of two rows is traced, since
    torch takes a batch of one for a constant.
    """
    given = example(graph, pair, 2)
    try:
        with _quiet():
            program = torch.onnx.export(
                graph,
                given,
                dynamo=True,
                dynamic_shapes=tuple({0: BATCH_AXIS} for _ in given),
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        why = str(error.__cause__ or error).strip().splitlines()[0]
        raise BadNetworks(f"torch cannot write {type(graph).__name__} as ONNX: {why}") from error
    if program is None:  # says torch's type; only its legacy exporter returns nothing
        raise BadNetworks(f"torch wrote no graph for {type(graph).__name__}")
    model: onnx.ModelProto = program.model_proto
    onnx_network.inline(model, graph.modules())
    _forget_origin(model)
    onnx.checker.check_model(model, full_check=True)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's talk to developers of exporters off the user's terminal."""
    log = logging.getLogger(_EXPORTER_LOG)
    level = log.level
    log.setLevel(logging.ERROR)  # it warns that torchvision, which nothing here uses, is missing
    try:
        with warnings.catch_warnings():
            # raised by copy.deepcopy inside torch 2.13's own exporter
            warnings.filterwarnings(
                "ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning
            )
            # of a second input with as many rows as the first
            warnings.filterwarnings("ignore", message="# The axis name: N will not be used")
            yield
    finally:
        log.setLevel(level)


def _forget_origin(model: onnx.ModelProto) -> None:
    """Drop what torch notes on each node: stack traces, which name the user's own files."""
    graph = model.graph
    holders: list[Any] = [model, graph, *graph.node, *graph.input, *graph.output]
    for holder in [*holders, *graph.initializer]:
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
    graph.ClearField("value_info")  # carries the same notes; shape inference gives it back
