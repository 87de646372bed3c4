"""Tensors as the Open Inference Protocol sends them: in JSON, or as bytes behind it.

https://github.com/kserve/open-inference-protocol and Triton's extension for binary tensors.  Binary
tensors are read where they lie in the body; nothing here waits.
"""

import itertools
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import orjson

from serving.bundle import GraphInfo, TensorInfo
from serving.errors import BadRequest, TooLarge, Unprocessable
from serving.routes.decoding import decoded
from serving.routes.oip_operations import (
    InferenceRequest,
    RequestedOutput,
    RequestParameters,
    RequestTensor,
)

Array = npt.NDArray[Any]
DATATYPES: Final[Mapping[str, str]] = MappingProxyType(
    {"uint8": "UINT8", "float32": "FP32", "int64": "INT64"}
)
_REQUEST: Final = msgspec.json.Decoder(InferenceRequest)
_NOT_HERE: Final = (
    "shared_memory_region",
    "classification",
)  # of an input's or output's parameters


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """An output that is to be in the answer."""

    index: int  # among the graph's outputs
    binary: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Inference:
    """A request to infer."""

    id: str | None
    inputs: tuple[Array | list[bytes | object], ...]  # as the graph has them; images may be files
    outputs: tuple[Wanted, ...]
    timeout: float | None  # seconds


def parse(body: bytes, json_length: int, graph: GraphInfo, *, max_rows: int) -> Inference:
    """The request in a body whose first `json_length` bytes are JSON.

    An input of uint8 images may also be a one-dimensional tensor of BYTES: files, one each.

    Raises:
        BadRequest: malformed, a tensor that the graph does not have, a size that does not add up.
        Unprocessable: a tensor of another datatype or shape, or a value that it cannot hold.
        TooLarge: more rows than `max_rows`.
    """
    document = decoded(memoryview(body)[:json_length], _REQUEST)
    parameters: RequestParameters = document.get("parameters", {})
    if parameters.get("sequence_id"):
        raise BadRequest("there are no sequences here: requests know nothing of each other")
    return Inference(
        id=document.get("id"),
        inputs=_inputs(document["inputs"], body, json_length, graph.inputs, max_rows),
        outputs=_outputs(document.get("outputs"), parameters, graph.outputs),
        timeout=_timeout(parameters.get("timeout")),
    )


def render(
    head: Mapping[str, Any],
    infos: Sequence[TensorInfo],
    arrays: Sequence[Array],
    wanted: Sequence[Wanted],
) -> tuple[bytes, int | None]:
    """The body of an answer, and how many bytes of it are JSON where bytes of tensors follow."""
    outputs, pieces = [], []
    for one in wanted:
        info, array = infos[one.index], np.ascontiguousarray(arrays[one.index])
        output: dict[str, Any] = {
            "name": info.name,
            "datatype": DATATYPES[info.dtype],
            "shape": list(array.shape),
        }
        if one.binary:
            output["parameters"] = {"binary_data_size": array.nbytes}
            pieces.append(array.astype(array.dtype.newbyteorder("<"), copy=False).data.cast("B"))
        else:
            output["data"] = array.ravel()
        outputs.append(output)
    said = orjson.dumps({**head, "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join((said, *pieces)), len(said)) if pieces else (said, None)


def _inputs(
    given: Sequence[RequestTensor],
    body: bytes,
    start: int,
    infos: Sequence[TensorInfo],
    max_rows: int,
) -> tuple[Array | list[bytes | object], ...]:
    names = [info.name for info in infos]
    found: dict[str, Array | list[bytes | object]] = {}
    for tensor in given:
        name = tensor["name"]
        if name not in names:
            raise BadRequest(f"no input {name[:60]!r}; there is: {', '.join(names)}")
        if name in found:
            raise BadRequest(f"input {name} is given twice")
        parameters = tensor.get("parameters", {})
        _check_here(parameters, f"input {name}")
        size = parameters.get("binary_data_size")
        data: memoryview | None = None
        if size is not None:
            if not 0 <= size <= len(body) - start:
                raise BadRequest(
                    f"input {name} has {str(size)[:20]} bytes of binary data, "
                    f"but {len(body) - start} are left of the body"
                )
            data = memoryview(body)[start : start + size]
            start += size
        found[name] = _input(tensor, data, infos[names.index(name)], max_rows)
    if missing := [name for name in names if name not in found]:
        raise BadRequest(f"input {missing[0]} is missing")
    if start != len(body):
        raise BadRequest(f"{len(body) - start} bytes are left behind the last tensor")
    rows = {name: len(found[name]) for name in names}
    if len({*rows.values()}) > 1:
        raise Unprocessable(f"the inputs must have as many rows as each other, got {rows}")
    return tuple(found[name] for name in names)


def _input(
    tensor: RequestTensor, data: memoryview | None, info: TensorInfo, max_rows: int
) -> Array | list[bytes | object]:
    shape, datatype = tensor["shape"], tensor["datatype"]
    if any(size < 0 for size in shape):
        raise BadRequest(f"input {info.name} must have a shape: a list of sizes")
    files = datatype == "BYTES" and info.dtype == "uint8" and len(info.shape) == 4
    if datatype != DATATYPES[info.dtype] and not files:
        raise Unprocessable(
            f"input {info.name} must be {DATATYPES[info.dtype]}, got {datatype[:20]}"
        )
    own = () if files else info.shape[1:]
    if not shape or (tuple(shape[1:]) != own and not (files and shape[1:] == [1])):
        sizes = ", ".join(map(str, (-1, *own)))
        raise Unprocessable(
            f"input {info.name} must have the shape [{sizes}], got {str(shape)[:60]}"
        )
    if not shape[0]:
        raise Unprocessable(f"input {info.name} has no rows")
    if shape[0] > max_rows:
        raise TooLarge(f"at most {max_rows:,} rows in one request, got {shape[0]:,}")
    if data is None and "data" not in tensor:
        raise BadRequest(f"input {info.name} has neither data nor binary_data_size")
    if files:
        found = (
            _flat(tensor["data"], shape, info.name)
            if data is None
            else _files(data, info.name, most=shape[0])
        )
        if len(found) != shape[0]:
            raise BadRequest(f"input {info.name} has {len(found)} elements, not {shape[0]}")
        return found
    array = _from_bytes(data, shape, info) if data is not None else _from_json(tensor, shape, info)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise Unprocessable(f"input {info.name} has numbers that are not finite")
    return array


def _from_bytes(data: memoryview, shape: Sequence[int], info: TensorInfo) -> Array:
    """A view of the bytes; a copy where they lie across the boundaries of its numbers."""
    dtype = np.dtype(info.dtype).newbyteorder("<")
    wanted = math.prod(shape) * dtype.itemsize
    if len(data) != wanted:
        raise BadRequest(
            f"input {info.name} of shape {list(shape)} takes {wanted} bytes, got {len(data)}"
        )
    array = np.frombuffer(data, dtype).reshape(shape).astype(info.dtype, copy=False)
    return np.require(array, requirements="A")


def _from_json(tensor: RequestTensor, shape: Sequence[int], info: TensorInfo) -> Array:
    numbers = _flat(tensor["data"], shape, info.name)
    floats = info.dtype == "float32"
    if set(map(type, numbers)) - ({float, int} if floats else {int}):  # by type: True is an int
        kind = "numbers" if floats else "whole numbers"
        raise Unprocessable(f"input {info.name} must hold nothing but {kind}")
    try:
        array = np.array(numbers, np.float64 if floats else np.int64)
    except OverflowError as error:
        raise Unprocessable(f"input {info.name} has a number that is too large") from error
    if info.dtype == "uint8" and not 0 <= array.min() <= array.max() <= 255:
        raise Unprocessable(f"input {info.name} must hold numbers from 0 to 255")
    with np.errstate(over="ignore"):  # infinite then, which is looked at next
        return array.astype(info.dtype).reshape(shape)


def _flat(items: list[Any], shape: Sequence[int], name: str) -> list[Any]:
    """The elements in row-major order of data nested as the shape says, or flat already."""
    if items and isinstance(items[0], list):
        for depth, size in enumerate(shape):
            if depth:
                if not all(type(row) is list and len(row) == size for row in items):
                    raise BadRequest(f"the data of input {name} is not nested as {list(shape)}")
                items = list(itertools.chain.from_iterable(items))
            elif len(items) != size:
                raise BadRequest(f"input {name} has {len(items)} rows, its shape says {size}")
    if len(items) != math.prod(shape):
        raise BadRequest(
            f"input {name} of shape {list(shape)} takes {math.prod(shape)} numbers, "
            f"got {len(items)}"
        )
    return items


def _files(data: memoryview, name: str, *, most: int) -> list[bytes | object]:
    """The elements of a BYTES tensor: each behind its length, 4 bytes little-endian."""
    found: list[bytes | object] = []
    while data:
        if len(found) == most:
            raise BadRequest(f"input {name} has more elements than its shape says: {most}")
        length = struct.unpack_from("<I", data)[0] if len(data) >= 4 else len(data)
        if length > len(data) - 4:
            raise BadRequest(f"input {name}: its element {len(found)} is cut off")
        found.append(bytes(data[4 : 4 + length]))
        data = data[4 + length :]
    return found


def _outputs(
    given: Sequence[RequestedOutput] | None,
    parameters: RequestParameters,
    infos: Sequence[TensorInfo],
) -> tuple[Wanted, ...]:
    names, binary = [info.name for info in infos], parameters.get("binary_data_output", False)
    if not given:
        return tuple(Wanted(index=i, binary=binary) for i in range(len(infos)))
    wanted: dict[str, Wanted] = {}
    for tensor in given:
        name = tensor["name"]
        if name not in names:
            raise BadRequest(f"no output {name[:60]!r}; there is: {', '.join(names)}")
        if name in wanted:
            raise BadRequest(f"output {name} is wanted twice")
        own = tensor.get("parameters", {})
        _check_here(own, f"output {name}")
        wanted[name] = Wanted(index=names.index(name), binary=own.get("binary_data", binary))
    return tuple(wanted.values())


def _timeout(given: int | None) -> float | None:
    if not given:
        return None
    if given < 0:
        raise BadRequest("timeout must be a whole number of microseconds, 0 or more")
    return given / 1e6


def _check_here(parameters: Mapping[str, object], what: str) -> None:
    for name in _NOT_HERE:
        if name in parameters:
            raise BadRequest(f"{what}: there is no {name} here")
