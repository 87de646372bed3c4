"""The oracle's bundle with a poison: graphs that really fail inside onnxruntime on some rows.

Each graph looks up its row's first number in a table that has an entry for every value but one:
level 255 at pixel 0, or `LATENT` as the first latent, is out of the table's bounds.  For all other
rows the answers are the oracle's.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from oracle import Floats, Images, make_oracle

LEVEL = 255
LATENT = 7.0


def make_poisonous(folder: Path, *, name: str = "poison", **options: Any) -> Path:
    """Write the bundle FOLDER/NAME/1 and return its path; options are those of `make_oracle`."""
    path = make_oracle(folder, name=name, **options)
    manifest = json.loads((path / "manifest.json").read_text())
    for graph in manifest["graphs"].values():
        file = path / graph["file"]
        model = onnx.load(str(file))
        _spoil(model.graph)
        onnx.checker.check_model(model, full_check=True)
        data = model.SerializeToString()
        file.write_bytes(data)
        graph["sha256"] = hashlib.sha256(data).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return path


def poisoned(images: Images, *rows: int) -> Images:
    """The images with poison in these rows, and surely none in the others."""
    images = images.copy()
    first = images[:, 0, 0, 0]
    first[first == LEVEL] = LEVEL - 1
    first[list(rows)] = LEVEL
    return images


def poisoned_latents(latents: Floats, *rows: int) -> Floats:
    """The latents with poison in these rows."""
    latents = latents.copy()
    latents[list(rows), 0] = LATENT
    return latents


def _spoil(graph: onnx.GraphProto) -> None:
    """Put the look-up between the graph's input and whatever reads it."""
    (given,) = graph.input
    kind = given.type.tensor_type.elem_type
    axes = len(given.type.tensor_type.shape.dim)
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == given.name:
                node.input[i] = "looked_up"
    bad = float(LEVEL) if kind == TensorProto.UINT8 else LATENT
    constants: dict[str, npt.NDArray[Any]] = {
        "bad": np.array(bad, np.float32),
        "first": np.array(0, np.int64),
        "table": np.zeros(1, np.float32),
        "column": np.array([-1] + [1] * (axes - 1), np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    nodes = [
        helper.make_node("Cast", [given.name], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["numbers"], ["flat"], axis=1),
        helper.make_node("Gather", ["flat", "first"], ["firsts"], axis=1),
        helper.make_node("Equal", ["firsts", "bad"], ["are_bad"]),
        helper.make_node("Cast", ["are_bad"], ["places"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "places"], ["zeros"], axis=0),
        helper.make_node("Reshape", ["zeros", "column"], ["zero_columns"]),
        helper.make_node("Add", ["numbers", "zero_columns"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["looked_up"], to=kind),
    ]
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
