"""Bundles on disk: what is in them, that they answer as torch does, and when there is none."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from export import bundle_writer, checks, graphs, onnx_writer, parity, probes
from export.destination import destination
from export.errors import BadNetworks, ParityFailure
from export.graphs import Graph, Pair
from serving.bundle import Prior, read
from serving.engine import Engine
from serving.errors import BundleError
from small_pairs import image_pair, vector_pair

STRETCH = {"fit": "stretch", "filter": "lanczos", "background": 255}
Writer = Callable[[Graph, Pair], onnx.ModelProto]
FILES = [
    "card.md", "decode.onnx", "encode.onnx", "golden.npz", "manifest.json", "reconstruct.onnx",
    "score.onnx", "weights.bin",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", params=[(16, 16, 1), (24, 40, 3), (3,)], ids=str)
def written(
    request: pytest.FixtureRequest,
    written_once: Writer,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Pair, Path]:
    """A pair and its bundle, NAME odd, version 2."""
    pair = vector_pair() if len(request.param) == 1 else image_pair(request.param)
    place = destination(tmp_path_factory.mktemp("written") / "odd" / "2")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == (16, 16, 1):  # the pair of `image_bundle`
            patch.setattr(bundle_writer, "to_onnx", written_once)
        bundle_writer.write(pair, place, preprocess=STRETCH, facts={"pairing": "aegan"})
    return pair, place.path


@pytest.fixture(scope="session")
def written_once() -> Writer:
    """`to_onnx` for image_pair(), which takes seconds only the first time for each graph."""
    done: dict[str, bytes] = {}

    def to_onnx(graph: Graph, pair: Pair) -> onnx.ModelProto:
        name = type(graph).__name__
        if name not in done:
            done[name] = onnx_writer.to_onnx(graph, pair).SerializeToString()
        return onnx.load_from_string(done[name])

    return to_onnx


@pytest.fixture(scope="session")
def image_bundle(written_once: Writer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a pair of 16x16 grey images."""
    place = destination(tmp_path_factory.mktemp("images") / "small" / "1")
    training = {"data": "none", "licence": "CC0", "steps": 7, "seconds": 200.0, "device": "a CPU"}
    training |= {"commands": ["biject train x"]}
    facts = {"pairing": "aegan", "objective": "gan", "training": training}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle_writer, "to_onnx", written_once)
        bundle_writer.write(image_pair(), place, preprocess=STRETCH, facts=facts)
    return place.path


def write(pair: Pair, path: Path) -> None:
    bundle_writer.write(pair, destination(path), preprocess=STRETCH, facts={})


def test_the_files_and_the_manifest(written: tuple[Pair, Path]) -> None:
    pair, path = written
    assert sorted(os.listdir(path)) == FILES
    manifest = read(path, name="odd", version=2).manifest
    assert manifest.latent.size == pair.latent
    assert manifest.extra["precision"] == "fp32"
    assert manifest.extra["pairing"] == "aegan"
    assert manifest.weights is not None
    if pair.is_image:
        assert manifest.image is not None
        assert manifest.image.shape == pair.shape
        assert manifest.score.default == "l2s"
    else:
        assert manifest.vector is not None
        assert (manifest.vector.size,) == pair.shape
        assert manifest.score.default == "l2"


@pytest.mark.parametrize("rows", [1, 3, 64, 65])
def test_the_engine_answers_as_the_unfolded_networks_do(
    written: tuple[Pair, Path], rows: int
) -> None:
    pair, path = written
    engine = Engine(read(path), device="cpu", threads=1)
    for name, graph in graphs.build(pair).items():
        given: Any = probes.items(pair, rows, seed=99)
        if name == "decode":
            given = probes.latents(pair, rows, seed=99)
        for wanted, got in zip(
            parity.expected(graph, given), engine.run(name, [given]), strict=True
        ):
            assert wanted.dtype == got.dtype
            allowed = 1 if wanted.dtype == np.uint8 else 1 / 255 + 1e-6
            np.testing.assert_allclose(
                got.astype(float), wanted.astype(float), rtol=0, atol=allowed
            )
        if name in ("encode", "reconstruct"):
            latents = engine.run(name, [given])[0]
            wanted = parity.expected(graph, given)[0]
            np.testing.assert_allclose(latents, wanted, rtol=0, atol=1e-4)


def test_parity_is_in_the_manifest(written: tuple[Pair, Path]) -> None:
    pair, path = written
    found = read(path).manifest.extra["parity"]
    assert (found["device"], found["batches"]) == ("cpu", [1, 3, 64])
    given = "images" if pair.is_image else "vectors"
    assert {graph: list(outputs) for graph, outputs in found["errors"].items()} == {
        "encode": ["latents"],
        "decode": [given],
        "reconstruct": ["latents", "reconstructions"],
        "score": ["terms", "heat"],
    }
    assert 0 < found["errors"]["encode"]["latents"] <= 1e-4


def test_golden_answers_come_back_from_the_engine(written: tuple[Pair, Path]) -> None:
    bundle = read(written[1])
    path = bundle.path
    engine = Engine(bundle, device="cpu", threads=1)
    with np.load(path / "golden.npz", allow_pickle=False) as golden:
        names = {f"{g}.{t.name}" for g, i in bundle.manifest.graphs.items()
                 for t in (*i.inputs, *i.outputs)}  # fmt: skip
        assert set(golden) == names
        for name, info in bundle.manifest.graphs.items():
            given = golden[f"{name}.{info.inputs[0].name}"]
            assert len(given) == 8
            outputs = engine.run(name, [given])
            for tensor, got in zip(info.outputs, outputs, strict=True):
                allowed = 1 if tensor.dtype == "uint8" else 1 / 255 + 1e-6
                wanted = golden[f"{name}.{tensor.name}"].astype(float)
                np.testing.assert_allclose(got.astype(float), wanted, rtol=0, atol=allowed)


def test_weights_are_on_disk_once_bit_for_bit(image_bundle: Path) -> None:
    data = (image_bundle / "weights.bin").read_bytes()
    places: dict[str, set[tuple[int, int]]] = {}
    for name in graphs.GRAPHS:
        model = onnx.load(image_bundle / f"{name}.onnx", load_external_data=False)
        entries = [
            {e.key: e.value for e in t.external_data}
            for t in model.graph.initializer
            if t.external_data
        ]
        places[name] = {(int(e["offset"]), int(e["length"])) for e in entries}
        assert all(e["location"] == "weights.bin" for e in entries)
        assert (image_bundle / f"{name}.onnx").stat().st_size < 16_000
    assert places["encode"] & places["decode"] == set()
    assert places["score"] == places["reconstruct"] == places["encode"] | places["decode"]
    assert all(offset % 4096 == 0 for offset, _ in places["score"])
    once = sum(length for _, length in places["score"])
    assert once <= len(data) < once + 4096 * len(places["score"])
    pair = image_pair().folded()
    head = dict(pair.encoder.named_parameters())["head.weight"].detach().numpy().tobytes()
    assert any(data[o : o + n] == head for o, n in places["encode"])


@pytest.mark.parametrize("file", ["weights.bin", "encode.onnx", "score.onnx"])
def test_a_changed_bit_is_noticed(image_bundle: Path, tmp_path: Path, file: str) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(image_bundle, copy)
    read(copy)
    data = bytearray((copy / file).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / file).write_bytes(data)
    with pytest.raises(BundleError, match=file):
        read(copy)


def test_the_card_says_what_the_manifest_says(image_bundle: Path) -> None:
    card = (image_bundle / "card.md").read_text()
    for line in (
        "# small, version 1",
        "grey images of 16x16 pixels and 5 latent numbers with a normal prior",
        "| licence of the data | CC0 |",
        "| time | 3 min |",
        "| command | `biject train x` |",
        "Score terms: l1, l2, l2s, peak, blob, cycle, ssim, prior; l2s unless another is asked.",
        "Not measured yet",
    ):
        assert line in card


def test_an_export_that_differs_from_torch_makes_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_once: Writer
) -> None:
    def skewed(graph: Graph, pair: Pair) -> onnx.ModelProto:
        model = written_once(graph, pair)
        for tensor in model.graph.initializer:
            if tensor.name.endswith("head.bias"):
                moved = numpy_helper.to_array(tensor) + np.float32(0.01)
                tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
        return model

    monkeypatch.setattr(bundle_writer, "to_onnx", skewed)
    with pytest.raises(ParityFailure) as caught:
        write(image_pair(), tmp_path / "models" / "skewed" / "1")
    assert "encode's latents by 0.01, allowed are 0.0001" in str(caught.value)
    assert "decode" not in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("stage", ["to_onnx", "weights.share", "parity.measure", "parity.to_dict"])
def test_ctrl_c_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_once: Writer, stage: str
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle_writer, "to_onnx", written_once)
    monkeypatch.setattr(f"export.bundle_writer.{stage}", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(image_pair(), tmp_path / "models" / "small" / "1")
    assert os.listdir(tmp_path) == []


class Noisy(torch.nn.Module):
    """A layer that draws random numbers whatever its mode, as some published encoders do."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z + 1e-3 * torch.randn_like(z)


class Matey(torch.nn.Module):
    """A layer that looks at the whole batch."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z - z.mean(dim=0)


class Broken(torch.nn.Module):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z / 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"last": Noisy()}, "random numbers in eval mode"),
        ({"last": Matey()}, "depends on the other items"),
        ({"last": Broken()}, "not finite"),
        ({"last": torch.nn.Linear(5, 4)}, r"E gives \[8, 4\]"),
        ({"generator": torch.nn.Sequential(torch.nn.Linear(5, 9))}, r"G gives \[8, 9\]"),
    ],
    ids=["random", "batch mates", "not finite", "latent size", "image size"],
)
def test_networks_that_are_not_fit_to_be_served(more: dict[str, Any], message: str) -> None:
    pair = image_pair(**more)
    with pytest.raises(BadNetworks, match=message):
        checks.check_networks(pair, graphs.build(pair))


@pytest.mark.parametrize(
    ("last", "reach", "normal", "uniform"),
    [
        (torch.nn.Identity(), 0.5, None, "ends in Gemm .* needs tanh"),
        (torch.nn.Tanh(), 0.9, "ends in Tanh, which cannot reach it", None),
        (torch.nn.Tanh(), 1.5, "ends in Tanh", "reaches 1.50: it needs tanh"),
        (torch.nn.ReLU(), 1.5, "ends in Relu", "reaches 1.50: it needs tanh"),
    ],
    ids=["linear", "tanh", "tanh, scaled inside", "relu"],
)
def test_the_encoder_must_reach_the_prior_and_no_further(
    last: torch.nn.Module, reach: float, normal: str | None, uniform: str | None
) -> None:
    pair = image_pair(last=torch.nn.Sequential(last, torch.nn.Flatten()))
    model = onnx_writer.to_onnx(graphs.build(pair.folded())["encode"], pair)
    codes = np.linspace(-reach, reach, 40, dtype=np.float32).reshape(8, 5)
    cases: tuple[tuple[Prior, str | None], ...] = (("normal", normal), ("uniform", uniform))
    for prior, message in cases:
        asked = replace(pair, prior=prior)
        if message is None:
            checks.check_support(model, asked, codes)
        else:
            with pytest.raises(BadNetworks, match=message):
                checks.check_support(model, asked, codes)


def test_a_new_version_keeps_the_files_and_changes_the_manifest(
    image_bundle: Path, tmp_path: Path
) -> None:
    place = destination(tmp_path / "small" / "5")
    bundle_writer.rewrite(read(image_bundle), place, changes={"remark": ["a"]})
    assert sorted(os.listdir(place.path)) == FILES
    manifest = read(place.path, name="small", version=5).manifest
    assert manifest.extra["remark"] == ["a"]
    old = json.loads((image_bundle / "manifest.json").read_text())
    new = json.loads((place.path / "manifest.json").read_text())
    for key in ("version", "created", "remark"):
        old.pop(key, None)
        new.pop(key)
    assert old == new
    for file in FILES:
        if file not in ("manifest.json", "card.md"):
            assert (place.path / file).read_bytes() == (image_bundle / file).read_bytes()
    assert "# small, version 5" in (place.path / "card.md").read_text()
