"""Which manifests are believed, and what is said of the others."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.bundle import Manifest
from serving.errors import BundleError
from serving.images import ImageSpec

Json = dict[str, Any]
SHA = "0" * 64


@pytest.fixture
def written(oracle_bundle: Path) -> Json:
    """The oracle's manifest, to be spoilt."""
    value: Json = json.loads((oracle_bundle / "manifest.json").read_text())
    return value


def vectors() -> Json:
    """The smallest manifest of a model of vectors, with an encoder alone."""

    def tensor(name: str, size: int) -> Json:
        return {"name": name, "dtype": "float32", "shape": ["N", size]}

    return {
        "format": 1,
        "name": "ring",
        "version": 12,
        "vector": {"size": 2, "columns": ["x", "y"]},
        "latent": {"size": 3, "prior": "uniform"},
        "graphs": {
            "encode": {
                "file": "encode.onnx",
                "sha256": SHA,
                "inputs": [tensor("v", 2)],
                "outputs": [tensor("z", 3)],
            }
        },
        "score": {"terms": ["l1"], "default": "l1"},
        "created": 1_700_000_000.5,
    }


def test_a_manifest_says_what_was_written(written: Json) -> None:
    manifest = Manifest.parse(written)
    assert (manifest.format, manifest.name, manifest.version) == (1, "oracle", 1)
    assert manifest.image == ImageSpec(height=8, width=8, channels=3)
    assert manifest.vector is None
    assert manifest.weights is None
    assert (manifest.latent.size, manifest.latent.prior) == (48, "normal")
    assert manifest.score.terms == ("l1", "l2", "l2s", "cycle")
    assert manifest.score.default == "l1"
    assert not manifest.score.calibration
    graph = manifest.graphs["reconstruct"]
    assert [tensor.name for tensor in graph.outputs] == ["latents", "reconstructions"]
    assert graph.inputs[0].shape == ("N", 8, 8, 3)
    assert graph.inputs[0].dtype == "uint8"


def test_preprocessing_reaches_the_image_spec(written: Json) -> None:
    written["preprocess"] = {"fit": "pad", "filter": "lanczos", "background": [1, 2, 3]}
    image = Manifest.parse(written).image
    assert image is not None
    assert (image.fit, image.background) == ("pad", (1, 2, 3))


def test_vectors_take_the_place_of_images() -> None:
    manifest = Manifest.parse(vectors())
    assert manifest.vector is not None
    assert (manifest.vector.size, manifest.vector.columns) == (2, ("x", "y"))
    assert manifest.image is None
    assert manifest.to_dict() == vectors()


def test_what_is_parsed_is_written_back_unknown_keys_included(written: Json) -> None:
    written |= {"quality": {"mae": 0.03}, "weights": {"file": "weights.bin", "sha256": SHA}}
    written["latent"]["made_by"] = {"size": 10}
    written["graphs"]["encode"]["opset"] = 20
    written["score"]["calibration"] = {"source": "s", "count": 2, "scores": {"l1": [0.1, 0.2]}}
    written["preprocess"]["background"] = [9, 9, 9]
    before = copy.deepcopy(written)
    manifest = Manifest.parse(written)
    assert manifest.to_dict() == before
    assert manifest.extra == {"quality": {"mae": 0.03}}
    assert Manifest.parse(manifest.to_dict()) == manifest


def test_calibration_becomes_sorted_arrays_that_cannot_be_changed(written: Json) -> None:
    written["score"]["calibration"] = {"scores": {"l2": [0, 0.5, 0.5, 2]}}
    calibration = Manifest.parse(written).score.calibration
    assert list(calibration) == ["l2"]
    assert calibration["l2"].dtype == np.float64
    assert calibration["l2"].tolist() == [0.0, 0.5, 0.5, 2.0]
    assert not calibration["l2"].flags.writeable


LABELS = {"name": "labels", "dtype": "int64", "shape": ["N"]}


def test_labels_may_follow_the_rows_of_a_conditional_model(written: Json) -> None:
    written["graphs"]["decode"]["inputs"].append(LABELS)
    written["classes"] = ["cat", "dog"]
    manifest = Manifest.parse(written)  # E need not take them
    assert manifest.graphs["decode"].inputs[1].shape == ("N",)
    assert manifest.classes == ("cat", "dog")
    assert Manifest.parse(manifest.to_dict()) == manifest


def test_labels_and_classes_go_together(written: Json) -> None:
    written["classes"] = ["cat", "dog"]
    with pytest.raises(BundleError, match=r"classes, but graphs\.decode takes no labels"):
        Manifest.parse(written)
    written["graphs"]["decode"]["inputs"].append(LABELS)
    for classes in (["cat", "cat"], ["cat", 1], ["cat", ""], "cat"):
        with pytest.raises(BundleError, match="classes must be"):
            Manifest.parse(written | {"classes": classes})
    written["graphs"]["encode"]["inputs"].append(LABELS | {"dtype": "float32"})
    with pytest.raises(BundleError, match="more than rows and labels, int64"):
        Manifest.parse(written)
    del written["classes"], written["graphs"]["encode"]["inputs"][1]
    with pytest.raises(BundleError, match=r"graphs\.decode takes labels, but there are no classes"):
        Manifest.parse(written)


def test_a_mixed_prior_leaves_numbers_that_are_no_categorys(written: Json) -> None:
    size = written["latent"]["size"]
    written["latent"]["categorical"] = 3
    manifest = Manifest.parse(written)
    assert (manifest.latent.categorical, manifest.latent.free) == (3, size - 3)
    assert manifest.to_dict()["latent"]["categorical"] == 3
    written["latent"]["categorical"] = size
    with pytest.raises(BundleError, match=r"latent\.categorical must be below"):
        Manifest.parse(written)


REQUIRED = (
    *("format", "name", "version", "image", "preprocess", "latent", "graphs", "score", "created"),
    *("image.height", "image.width", "image.channels"),
    *("preprocess.fit", "preprocess.filter", "preprocess.background"),
    *("latent.size", "latent.prior", "score.terms", "score.default"),
    *("graphs.score.file", "graphs.score.sha256", "graphs.score.inputs", "graphs.score.outputs"),
)


@pytest.mark.parametrize("key", REQUIRED)
@pytest.mark.parametrize("spoil", ["absent", "null"])
def test_a_required_key_that_is_missing_is_named(written: Json, key: str, spoil: str) -> None:
    *parents, last = key.split(".")
    place = written
    for parent in parents:
        place = place[parent]
    if spoil == "absent":
        del place[last]
    else:
        place[last] = None
    with pytest.raises(BundleError, match=rf"^{key} is missing"):
        Manifest.parse(written)


def put(path: str, value: object) -> Callable[[Json], None]:
    """Sets the value at a dotted path; a number in it is a place in a list."""

    def spoil(manifest: Json) -> None:
        *parents, last = (int(key) if key.isdigit() else key for key in path.split("."))
        place: Any = manifest
        for parent in parents:
            place = place[parent]
        place[last] = value

    return spoil


WRONG = [
    ("format is 2; this version reads 1", put("format", 2)),
    ("format must be a whole number", put("format", "1")),
    ("format must be a whole number", put("format", True)),
    ("name must be text like", put("name", "Oracle")),
    ("name must be text like", put("name", "../oracle")),
    ("name must be text like", put("name", "oracle\n")),
    ("name must be text like", put("name", "")),
    ("name must be text like", put("name", 7)),
    ('name is "default"', put("name", "default")),
    ("version must be a whole number of at least 1, got 0", put("version", 0)),
    ("version must be a whole number of at least 1, got 1.0", put("version", 1.0)),
    ("created must be a number", put("created", "today")),
    ("created must be a number", put("created", -1)),
    ("image must be an object", put("image", [8, 8, 3])),
    ("image.depth is not known; image has: height, width, channels", put("image.depth", 1)),
    ("channels must be 1 or 3, got 4", put("image.channels", 4)),
    ("height must be a whole number", put("image.height", 8.0)),
    ("height must be a whole number from 1 to 65535, got 10", put("image.height", 10**9)),
    ("preprocess.mean is not known", put("preprocess.mean", [0.5])),
    ("fit must be one of stretch, pad, crop, got 'squash'", put("preprocess.fit", "squash")),
    ("filter must be lanczos, got 'bilinear'", put("preprocess.filter", "bilinear")),
    ("background must be a level from 0 to 255", put("preprocess.background", 256)),
    ("background must be a level from 0 to 255, or 3", put("preprocess.background", [1, 2])),
    ("background must be a level", put("preprocess.background", "white")),
    ("image and vector are both there", put("vector", {"size": 3})),
    ("latent.size must be a whole number", put("latent.size", 0)),
    ("latent.prior must be one of normal, uniform, got 'cauchy'", put("latent.prior", "cauchy")),
    ("latent must be an object, got 64", put("latent", 64)),
    ("graphs has none of encode, decode, reconstruct, score", put("graphs", {})),
    ("graphs must be an object", put("graphs", [])),
    ("graphs has '../x', which is no name",
     lambda manifest: manifest["graphs"].update({"../x": manifest["graphs"]["encode"]})),
    ("graphs.encode must be an object", put("graphs.encode", "encode.onnx")),
    ("graphs.encode.file must be text like", put("graphs.encode.file", "../encode.onnx")),
    ("graphs.encode.file must be text like", put("graphs.encode.file", "/etc/passwd")),
    ("graphs.encode.file must be text like", put("graphs.encode.file", "a\\b.onnx")),
    ("graphs.encode.file must be text like", put("graphs.encode.file", "..")),
    ("graphs.encode.file must be text like", put("graphs.encode.file", ".hidden")),
    ("graphs.encode.file must be text like", put("graphs.encode.file", "encode.onnx\0")),
    ("graphs.encode.file must be text like", put("graphs.encode.file", "encode.onnx\n")),
    ("graphs.encode.sha256 must be text like", put("graphs.encode.sha256", "0" * 63)),
    ("graphs.encode.sha256 must be text like", put("graphs.encode.sha256", "A" * 64)),
    ("weights.file must be text like", put("weights", {"file": "../w", "sha256": SHA})),
    ("graphs.encode.inputs must be a list", put("graphs.encode.inputs", {})),
    (r"graphs.encode.inputs must be uint8 \[N, 8, 8, 3\], got nothing",
     put("graphs.encode.inputs", [])),
    (r"graphs.encode.inputs must be uint8 .*, got float32 \[N, 8, 8, 3\]",
     put("graphs.encode.inputs.0.dtype", "float32")),
    (r"graphs.decode.outputs must be uint8 .*, got uint8 \[N, 3, 8, 8\]",
     put("graphs.decode.outputs.0.shape", ["N", 3, 8, 8])),
    (r"graphs.score.outputs must be .*\[N, 4\], float32 \[N, 8, 8\], got float32 \[N, 4\], float32",
     put("graphs.score.outputs.1.shape", ["N", 4, 4])),
    (r"graphs.score.outputs must be float32 \[N, 1\]", put("score.terms", ["l1"])),
    (r"graphs.encode.outputs must be float32 \[N, 47\], got float32 \[N, 48\]",
     put("latent.size", 47)),
    (r"graphs.encode.inputs\[0\].dtype must be one of", put("graphs.encode.inputs.0.dtype", "O")),
    (r"graphs.encode.inputs\[0\].shape must be", put("graphs.encode.inputs.0.shape", [1, 8, 8, 3])),
    (r"graphs.encode.inputs\[0\].shape must be", put("graphs.encode.inputs.0.shape", ["N", -8])),
    (r"graphs.encode.inputs\[0\].shape must be", put("graphs.encode.inputs.0.shape", ["N", "H"])),
    ("score.terms must be different names", put("score.terms", [])),
    ("score.terms must be different names", put("score.terms", ["l1", "l1"])),
    ("score.terms must be different names", put("score.terms", [["l1"]])),
    ("score.default must be one of l1, l2, l2s, cycle, got 'l3'", put("score.default", "l3")),
    ("score.calibration must be an object", put("score.calibration", [1])),
    ("score.calibration.scores is missing", put("score.calibration", {"count": 1})),
    ("scores of an unknown term l3", put("score.calibration", {"scores": {"l3": [1]}})),
    ("score.calibration.scores.l1 must be in ascending order",
     put("score.calibration", {"scores": {"l1": [2, 1]}})),
    ("score.calibration.scores.l1 must be a list of",
     put("score.calibration", {"scores": {"l1": []}})),
    ("score.calibration.scores.l1 must be a list of numbers",
     put("score.calibration", {"scores": {"l1": ["a"]}})),
    ("score.calibration.scores.l1 must be a list of finite",
     put("score.calibration", {"scores": {"l1": [0, 1e999]}})),
    ("score.calibration.scores.l1 must be a list of finite",
     put("score.calibration", {"scores": {"l1": [float("nan")]}})),
    ("score.calibration.scores.l1 must be a list of finite",
     put("score.calibration", {"scores": {"l1": [[1], [2]]}})),
]  # fmt: skip


@pytest.mark.parametrize(("complaint", "spoil"), WRONG)
def test_a_wrong_value_is_refused_by_name(
    written: Json, complaint: str, spoil: Callable[[Json], None]
) -> None:
    spoil(written)
    with pytest.raises(BundleError, match=complaint):
        Manifest.parse(written)


@pytest.mark.parametrize("value", [None, [], "manifest", 1])
def test_what_is_no_object_is_no_manifest(value: object) -> None:
    with pytest.raises(BundleError, match="the whole must be an object"):
        Manifest.parse(value)


def test_a_long_value_is_quoted_in_part(written: Json) -> None:
    written["name"] = "x" * 10_000 + "!"
    with pytest.raises(BundleError) as caught:
        Manifest.parse(written)
    assert len(str(caught.value)) < 200


def test_columns_must_name_every_number_or_none() -> None:
    manifest = vectors()
    manifest["vector"]["columns"] = ["x"]
    with pytest.raises(BundleError, match=r"vector.columns must be 2 names, got 1"):
        Manifest.parse(manifest)
    del manifest["vector"]["columns"]
    assert Manifest.parse(manifest).to_dict() == manifest
