"""One file of weights for all graphs of a bundle: the same bytes are on disk once.

ONNX calls it external data: an initialiser names a file, an offset and a length in place of its
bytes.  Several graphs may name the same place.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import onnx
from onnx import external_data_helper, numpy_helper

FILE: Final = "weights.bin"
SMALLEST: Final = 256  # bytes; less than that stays in the graph
ALIGNMENT: Final = 4096  # bytes: offsets start on a page, so that the file can be mapped


def share(graphs: Iterable[onnx.ModelProto], folder: Path) -> Path:
    """Move every larger initialiser of `graphs` into one file in `folder`; the graphs change.

    Equal bytes are written once, whichever graph, name or shape they have.  Graphs that have no
    such initialiser still get the file, empty if need be: a bundle always holds it.
    """
    path = folder / FILE
    places: dict[bytes, int] = {}  # hash of the bytes -> offset
    end = 0
    with path.open("wb") as file:
        for graph in graphs:
            for tensor in graph.graph.initializer:
                data = _raw(tensor)
                if len(data) < SMALLEST:
                    continue
                key = hashlib.sha256(data).digest()
                if key not in places:
                    places[key] = -(-end // ALIGNMENT) * ALIGNMENT
                    file.seek(places[key])  # the gap reads as zeros
                    file.write(data)
                    end = places[key] + len(data)
                _point(tensor, offset=places[key], length=len(data))
    return path


def _raw(tensor: onnx.TensorProto) -> bytes:
    """The tensor's little-endian bytes; one stored in typed fields is rewritten to hold them."""
    if not tensor.HasField("raw_data"):
        plain = numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name)
        tensor.CopyFrom(plain)
    return tensor.raw_data


def _point(tensor: onnx.TensorProto, *, offset: int, length: int) -> None:
    external_data_helper.set_external_data(tensor, location=FILE, offset=offset, length=length)
    tensor.ClearField("raw_data")
