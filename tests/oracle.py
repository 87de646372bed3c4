"""A model whose every answer can be worked out by hand, written with onnx.helper: no training.

E gives the means of block x block pixels, scaled to [-1, 1] and flattened as [C, H / b, W / b];
G repeats each number over its block and rounds.  One that is told labels takes (label + 1) / 8 off
its codes and adds it again: where none is known, -1, it answers as the other.  `make_oracle` writes
the bundle, with only what a manifest must have; the `oracle_*` functions give the same answers with
numpy alone.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Images = npt.NDArray[np.uint8]  # [N, H, W, C]
Floats = npt.NDArray[np.float32]

TERMS = ("l1", "l2", "l2s", "cycle")
_DTYPES = {
    "uint8": TensorProto.UINT8,
    "float32": TensorProto.FLOAT,
    "int64": TensorProto.INT64,
}


def make_oracle(
    folder: Path,
    *,
    name: str = "oracle",
    version: int = 1,
    height: int = 8,
    width: int = 8,
    channels: int = 3,
    block: int = 2,
    prior: str = "normal",
    preprocess: Mapping[str, Any] | None = None,
    calibration: Mapping[str, Sequence[float]] | None = None,
    default: str = "l1",
    classes: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write the bundle FOLDER/NAME/VERSION and return its path.

    `calibration` holds sorted scores by term, `classes` make it conditional, `extra` are more keys
    for the top of the manifest.
    """
    path = folder / name / str(version)
    path.mkdir(parents=True)
    shape = (height, width, channels)
    size = height // block * (width // block) * channels
    pixels, codes = ("uint8", ["N", *shape]), ("float32", ["N", size])
    terms, heat = ("float32", ["N", len(TERMS)]), ("float32", ["N", height, width])
    signatures = {
        "encode": ({"images": pixels}, {"latents": codes}),
        "decode": ({"latents": codes}, {"images": pixels}),
        "reconstruct": ({"images": pixels}, {"latents": codes, "reconstructions": pixels}),
        "score": ({"images": pixels}, {"terms": terms, "heat": heat}),
    }
    told: dict[str, Any] = {"labels": ("int64", ["N"])} if classes else {}
    graphs = {}
    for graph, (rows, outputs) in signatures.items():
        builder, inputs = _Builder(shape, block, told=bool(told)), rows | told
        getattr(builder, graph)()
        data = builder.model(inputs, outputs).SerializeToString()
        (path / f"{graph}.onnx").write_bytes(data)
        graphs[graph] = {
            "file": f"{graph}.onnx",
            "sha256": hashlib.sha256(data).hexdigest(),
            "inputs": [_info(key, value) for key, value in inputs.items()],
            "outputs": [_info(key, value) for key, value in outputs.items()],
        }
    score: dict[str, Any] = {"terms": list(TERMS), "default": default}
    if calibration is not None:
        count = len(next(iter(calibration.values())))
        score["calibration"] = {"source": "by hand", "count": count, "scores": dict(calibration)}
    manifest = {
        "format": 1,
        "name": name,
        "version": version,
        "image": {"height": height, "width": width, "channels": channels},
        "preprocess": {"fit": "stretch", "filter": "lanczos", "background": 255}
        | dict(preprocess or {}),
        "latent": {"size": size, "prior": prior},
        "graphs": graphs,
        "score": score,
        "created": 1_700_000_000,
        **({"classes": list(classes)} if classes else {}),
    } | dict(extra or {})
    (path / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return path


class Scores(NamedTuple):
    terms: Floats  # [N, T], in the order of TERMS
    heat: Floats  # [N, H, W]


def oracle_shift(labels: Sequence[int] | npt.NDArray[np.int64]) -> Floats:
    """What labels [N] take off codes, [N, 1]."""
    above = np.asarray(labels, np.float32)[:, np.newaxis] + np.float32(1)
    shift: Floats = above / np.float32(8)
    return shift


def oracle_encode(images: Images, block: int = 2) -> Floats:
    """E(x): [N, H, W, C] to [N, Z]."""
    n, height, width, channels = images.shape
    blocks = images.reshape(n, height // block, block, width // block, block, channels)
    means = blocks.mean(axis=(2, 4), dtype=np.float32)
    codes: Floats = means.transpose(0, 3, 1, 2).reshape(n, -1) / np.float32(127.5) - np.float32(1)
    return codes


def oracle_decode(
    latents: Floats, *, height: int = 8, width: int = 8, channels: int = 3, block: int = 2
) -> Images:
    """G(z): [N, Z] to [N, H, W, C]; halves go to the even neighbour, as in the graph."""
    levels = (latents.astype(np.float32) + np.float32(1)) * np.float32(127.5)
    small = levels.reshape(-1, channels, height // block, width // block).transpose(0, 2, 3, 1)
    large = small.repeat(block, axis=1).repeat(block, axis=2)
    images: Images = np.rint(large.clip(0, 255)).astype(np.uint8)
    return images


def oracle_reconstruct(images: Images, block: int = 2) -> Images:
    """G(E(x)), uint8 as images."""
    _, height, width, channels = images.shape
    codes = oracle_encode(images, block)
    return oracle_decode(codes, height=height, width=width, channels=channels, block=block)


def oracle_score(images: Images, block: int = 2) -> Scores:
    """All terms and the heat map, in float64 and by the definitions, rounded at the end."""
    made = oracle_reconstruct(images, block)
    d = (images.astype(np.float64) - made) / 255  # [N, H, W, C]
    codes = oracle_encode(images, block).astype(np.float64)
    recoded = oracle_encode(made, block).astype(np.float64)
    terms = (
        np.abs(d).mean(axis=(1, 2, 3)),
        (d**2).mean(axis=(1, 2, 3)),
        (_mean_3x3(d) ** 2).mean(axis=(1, 2, 3)),
        ((codes - recoded) ** 2).mean(axis=1),
    )
    return Scores(
        np.stack(terms, axis=1).astype(np.float32), np.abs(d).mean(axis=3).astype(np.float32)
    )


def _mean_3x3(d: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Each pixel's mean with its neighbours, of those that exist."""
    result = np.empty_like(d)
    for y in range(d.shape[1]):
        for x in range(d.shape[2]):
            near = d[:, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            result[:, y, x] = near.mean(axis=(1, 2))
    return result


class _Builder:
    """The nodes of one graph; every method reads tensors by name and returns the name it made."""

    def __init__(self, shape: tuple[int, int, int], block: int, *, told: bool = False) -> None:
        self.shape, self.block, self.told = shape, block, told
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    # The four graphs.

    def encode(self) -> None:
        self.codes(self.planes("images"), out="latents")

    def decode(self) -> None:
        self.bytes_of(self.drawn("latents"), out="images")

    def reconstruct(self) -> None:
        codes = self.codes(self.planes("images"), out="latents")
        self.bytes_of(self.drawn(codes), out="reconstructions")

    def score(self) -> None:
        x = self.planes("images")
        codes = self.codes(x)
        made = self.drawn(codes)
        d = self.add("Div", self.add("Sub", x, made), self.constant(255.0))
        size = self.add("Abs", d)
        near = self.add(
            "AveragePool", d, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1], count_include_pad=0
        )
        apart = self.add("Sub", codes, self.codes(made))
        terms = (
            self.mean(size, [1, 2, 3]),
            self.mean(self.add("Mul", d, d), [1, 2, 3]),
            self.mean(self.add("Mul", near, near), [1, 2, 3]),
            self.mean(self.add("Mul", apart, apart), [1]),
        )
        columns = [self.add("Reshape", term, self.constant([-1, 1], np.int64)) for term in terms]
        self.add("Concat", *columns, out="terms", axis=1)
        self.add("ReduceMean", size, out="heat", axes=[1], keepdims=0)

    # Their parts.

    def planes(self, images: str) -> str:
        """uint8 [N, H, W, C] as float32 [N, C, H, W], 0 to 255."""
        levels = self.add("Cast", images, to=TensorProto.FLOAT)
        return self.add("Transpose", levels, perm=[0, 3, 1, 2])

    def codes(self, planes: str, out: str | None = None) -> str:
        """E of planes: [N, Z]."""
        side = [self.block, self.block]
        means = self.add("AveragePool", planes, kernel_shape=side, strides=side)
        scaled = self.add("Div", self.add("Flatten", means, axis=1), self.constant(127.5))
        if self.told:
            scaled = self.add("Sub", scaled, self.shift())
        return self.add("Sub", scaled, self.constant(1.0), out=out)

    def shift(self) -> str:
        """What the labels take off codes, [N, 1]."""
        labels = self.add("Cast", "labels", to=TensorProto.FLOAT)
        above = self.add("Div", self.add("Add", labels, self.constant(1.0)), self.constant(8.0))
        return self.add("Reshape", above, self.constant([-1, 1], np.int64))

    def drawn(self, codes: str) -> str:
        """G of codes, as planes of whole numbers from 0 to 255."""
        height, width, channels = self.shape
        shape = [-1, channels, height // self.block, width // self.block]
        if self.told:
            codes = self.add("Add", codes, self.shift())
        unit = self.add("Add", codes, self.constant(1.0))
        small = self.add(
            "Reshape", self.add("Mul", unit, self.constant(127.5)), self.constant(shape, np.int64)
        )
        scales = self.constant([1, 1, self.block, self.block], np.float32)
        large = self.add(
            "Resize",
            small,
            "",
            scales,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        return self.add("Round", self.add("Clip", large, self.constant(0.0), self.constant(255.0)))

    def bytes_of(self, planes: str, out: str) -> str:
        """Planes as uint8 [N, H, W, C]."""
        return self.add(
            "Cast", self.add("Transpose", planes, perm=[0, 2, 3, 1]), out=out, to=TensorProto.UINT8
        )

    def mean(self, tensor: str, axes: list[int]) -> str:
        return self.add("ReduceMean", tensor, axes=axes, keepdims=0)

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def add(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        out = out or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def model(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> onnx.ModelProto:
        given, made = (
            [helper.make_tensor_value_info(k, _DTYPES[dtype], shape) for k, (dtype, shape) in side]
            for side in (inputs.items(), outputs.items())
        )
        graph = helper.make_graph(self.nodes, "oracle", given, made, self.constants)
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def _info(name: str, signature: tuple[str, list[Any]]) -> dict[str, Any]:
    return {"name": name, "dtype": signature[0], "shape": signature[1]}
