"""A pair of networks to a bundle on disk: checked, measured against torch, whole or absent."""

import json
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import onnx

from export import card, checks, graphs, parity, probes, trained_on, weights
from export.destination import Destination, whole_folder
from export.graphs import Graph, Pair
from export.onnx_writer import to_onnx
from export.runs import vector_spec
from export.trained_on import Hashes
from serving import bundle
from serving.bundle import FORMAT, MANIFEST, Bundle, LatentSpec, Manifest, sha256_of

Say = Callable[[str], None]  # one line about what is being done
Calibrate = Callable[[Path, dict[str, Any]], None]

GOLDEN_ROWS: Final = 8
CARD: Final = "card.md"
GOLDEN: Final = "golden.npz"
NUMBERS: Final = re.compile(r"\[\s+([-+.,\deE\s]+?)\s+\]")  # thousands of scores: one line
_DTYPES: Final[Mapping[int, str]] = {
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.INT64: "int64",
}


def write(
    pair: Pair,
    place: Destination,
    *,
    preprocess: Mapping[str, Any],
    facts: Mapping[str, Any],
    hashes: Hashes | None = None,
    calibrate: Calibrate | None = None,
    say: Say = lambda line: None,
) -> Manifest:
    """Write the bundle of `pair` to `place` and give back its manifest.

    Args:
        preprocess: {"fit", "filter", "background"} of images; not looked at for vectors.
        facts: Further keys of the manifest: pairing, objective, classes, training, biject.
        hashes: Of the items trained on: they go into a file of the bundle.
        calibrate: Calibrates the finished bundle in a folder, and changes its manifest's keys.
        say: Told of each stage.
    Raises:
        BadNetworks: the networks are not fit to be served.
        ParityFailure: the graphs do not answer as torch does; nothing is left on disk.
        BadOutput: `place` cannot be written.
    """
    originals, plain = graphs.build(pair), pair.folded()
    checks.check_networks(pair, originals)
    with whole_folder(place.path) as folder:
        models: dict[str, onnx.ModelProto] = {}
        for name, graph in graphs.build(plain).items():
            say(f"writing {name}")
            models[name] = to_onnx(graph, plain)
        golden = _golden(pair, originals)
        checks.check_support(models["encode"], pair, golden["encode.latents"])
        weights.share(models.values(), folder)
        for name, model in models.items():
            (folder / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
        np.savez_compressed(folder / GOLDEN, **golden)
        described = _describe(pair, place, folder, models, preprocess) | dict(facts)
        write_manifest(folder, described)
        say("comparing with torch")
        errors = parity.measure(bundle.read(folder), pair, originals)
        parity.require(errors)
        described["parity"] = parity.to_dict(errors)
        if hashes is not None:
            trained_on.write(hashes, folder, described)
        if calibrate is not None:
            write_manifest(folder, described)
            calibrate(folder, described)
        return write_manifest(folder, described)


def rewrite(
    source: Bundle,
    place: Destination,
    *,
    changes: Mapping[str, Any] = MappingProxyType({}),
    hashes: Hashes | None = None,
    calibrate: Calibrate | None = None,
) -> Manifest:
    """Write a new version of a bundle: the same files, a manifest with `changes`, a new card.

    `hashes` of the items trained on are added where the bundle has none; `calibrate` as in `write`.

    Raises:
        BadOutput: `place` cannot be written.
        BundleError: the changes make no manifest.
    """
    described = source.manifest.to_dict() | dict(changes)
    described |= {"name": place.name, "version": place.version, "created": int(time.time())}
    with whole_folder(place.path) as folder:
        for file in source.path.iterdir():
            if file.is_file() and file.name not in (MANIFEST, CARD):
                shutil.copyfile(file, folder / file.name)
        if hashes is not None and trained_on.of_bundle(source) is None:
            trained_on.write(hashes, folder, described)
        if calibrate is not None:
            write_manifest(folder, described)
            calibrate(folder, described)
        manifest = write_manifest(folder, described)
        bundle.read(folder)  # a copy cut short, by a full disk say, is no bundle
        return manifest


def write_manifest(folder: Path, described: Mapping[str, Any]) -> Manifest:
    """Write manifest.json, as the reader of it understands it, and the card that tells of it."""
    manifest = Manifest.parse(described)
    text = json.dumps(manifest.to_dict(), indent=2, allow_nan=False)
    text = NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    (folder / CARD).write_text(card.render(described), encoding="utf-8")
    return manifest


def _describe(
    pair: Pair,
    place: Destination,
    folder: Path,
    models: Mapping[str, onnx.ModelProto],
    preprocess: Mapping[str, Any],
) -> dict[str, Any]:
    """The manifest's keys that the graphs themselves decide."""
    described: dict[str, Any] = {"format": FORMAT, "name": place.name, "version": place.version}
    if pair.is_image:
        described["image"] = dict(zip(("height", "width", "channels"), pair.shape, strict=True))
        described["preprocess"] = dict(preprocess)
    else:
        described["vector"] = vector_spec(pair).to_dict()
    return described | {
        "latent": LatentSpec(
            size=pair.latent, prior=pair.prior, categorical=pair.categorical
        ).to_dict(),
        "graphs": {
            name: {
                "file": f"{name}.onnx",
                "sha256": sha256_of(folder / f"{name}.onnx"),
                "inputs": [_tensor(value) for value in model.graph.input],
                "outputs": [_tensor(value) for value in model.graph.output],
            }
            for name, model in models.items()
        },
        "weights": {"file": weights.FILE, "sha256": sha256_of(folder / weights.FILE)},
        "score": {
            "terms": list(graphs.score_terms(pair)),
            "default": graphs.default_term(pair),
        },
        "created": int(time.time()),
        "precision": "fp32",
    }


def _tensor(value: onnx.ValueInfoProto) -> dict[str, Any]:
    kind = value.type.tensor_type
    shape = [axis.dim_param or axis.dim_value for axis in kind.shape.dim]
    return {"name": value.name, "dtype": _DTYPES[kind.elem_type], "shape": shape}


def _golden(pair: Pair, originals: Mapping[str, Graph]) -> dict[str, Any]:
    """Inputs, and what torch answers to them, as "GRAPH.TENSOR"; made without any data set."""
    arrays: dict[str, Any] = {}
    for name, graph in originals.items():
        given = probes.given(graph, pair, GOLDEN_ROWS)
        for tensor, rows in zip(graph.inputs, given, strict=True):
            arrays[f"{name}.{tensor}"] = rows
        for output, answer in zip(graph.outputs, parity.expected(graph, *given), strict=True):
            arrays[f"{name}.{output}"] = answer
    return arrays
