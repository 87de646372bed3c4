"""The files of a bundle as its manifest names them: each graph with what goes in and comes out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeAlias

from serving.errors import BundleError
from serving.fields import Fields

BATCH: Final = "N"  # stands for the batch axis in a shape

Json: TypeAlias = dict[str, Any]
_FILE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # a plain name: it leads nowhere else
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorInfo:
    """An input or output of a graph."""

    name: str
    dtype: str  # as numpy names it: uint8, float32, int64
    shape: tuple[int | str, ...]  # "N", the batch axis, comes first

    @classmethod
    def parse(cls, value: object, where: str) -> Self:
        fields = Fields(value, where)
        shape = fields.list("shape")
        if shape[:1] != [BATCH] or not all(type(n) is int and n > 0 for n in shape[1:]):
            raise BundleError(f'{where}.shape must be ["N", sizes ...], got {shape!r}')
        dtype = fields.choice("dtype", ("uint8", "float32", "int64"))
        return cls(name=fields.text("name"), dtype=dtype, shape=tuple(shape))

    def to_dict(self) -> Json:
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    def sizes(self, rows: int) -> tuple[int, ...]:
        """The shape of a batch of so many rows."""
        return rows, *(size for size in self.shape[1:] if isinstance(size, int))


@dataclass(frozen=True, kw_only=True, slots=True)
class FileInfo:
    """A file of the bundle, and the SHA-256 of its bytes in hexadecimal."""

    file: str
    sha256: str

    @classmethod
    def parse(cls, value: object, where: str) -> Self:
        fields = Fields(value, where)
        return cls(file=fields.text("file", _FILE), sha256=fields.text("sha256", _SHA256))

    def to_dict(self) -> Json:
        return {"file": self.file, "sha256": self.sha256}


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphInfo:
    """An ONNX file and its signature; tensors are passed in this order, whatever their names."""

    file: str
    sha256: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: object, where: str) -> Self:
        fields, file = Fields(value, where), FileInfo.parse(value, where)
        inputs, outputs = (
            tuple(
                TensorInfo.parse(v, f"{where}.{key}[{i}]") for i, v in enumerate(fields.list(key))
            )
            for key in ("inputs", "outputs")
        )
        extra = fields.others("file", "sha256", "inputs", "outputs")
        return cls(file=file.file, sha256=file.sha256, inputs=inputs, outputs=outputs, extra=extra)

    def to_dict(self) -> Json:
        return {
            "file": self.file,
            "sha256": self.sha256,
            "inputs": [tensor.to_dict() for tensor in self.inputs],
            "outputs": [tensor.to_dict() for tensor in self.outputs],
            **self.extra,
        }
