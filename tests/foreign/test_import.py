"""`biject import`: networks of somebody else become a bundle that answers as they do."""

import io
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from onnx import TensorProto, helper
from torch import nn

from export import foreign
from export.errors import BadForeign
from export.importing import import_
from foreign.elsewhere import Z, decoder, encoder, grey, ungrey
from http_api.conftest import served
from serving.bundle import read
from serving.settings import Settings

Array = npt.NDArray[Any]
SOURCE = Path(__file__).with_name("elsewhere.py")
RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with elsewhere.py and the ONNX files that it writes."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copy(SOURCE, folder)
    subprocess.run(
        [sys.executable, SOURCE.name], cwd=folder, check=True, capture_output=True, timeout=120
    )
    return folder


@pytest.fixture(autouse=True)
def _there(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(sys, "path", list(sys.path))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(import_, arguments)


def image_of(network: nn.Module, z: Array, low: float, high: float) -> Array:
    """What a network draws, as grey levels, worked out here."""
    with torch.no_grad():
        x = network(torch.from_numpy(z)).numpy().astype(np.float64)
    levels: Array = np.rint((x - low) / (high - low) * 255).clip(0, 255)
    return levels


def test_two_onnx_files_answer_over_http_as_the_networks_do(tmp_path: Path) -> None:
    out = tmp_path / "faces" / "1"
    done = run("--encoder", "e.onnx", "--decoder", "g.onnx", "--range", "0,1", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert "score differs from the originals by at most" in done.stderr
    manifest = read(out).manifest
    assert manifest.image is not None
    assert manifest.image.shape == (16, 16, 3)
    assert (manifest.latent.size, manifest.latent.prior) == (Z, "normal")
    origin = manifest.extra["imported"]
    assert (origin["range"], origin["encoder"]["file"]) == ([0, 1], "e.onnx")
    assert f"| decoder | g.onnx, SHA-256 {origin['decoder']['sha256']} |" in (
        out / "card.md"
    ).read_text(encoding="utf-8")
    assert set(manifest.extra["parity"]["errors"]) == {"encode", "decode", "reconstruct", "score"}
    weights = out / "weights.bin"
    parameters = sum(p.numel() for net in (encoder(), decoder()) for p in net.parameters())
    assert weights.stat().st_size < 4 * parameters + 4096 * 12  # each is there once
    images = RNG.integers(0, 256, (5, 16, 16, 3), np.uint8)
    with torch.no_grad():
        wanted = encoder()(torch.from_numpy(images).permute(0, 3, 1, 2) / 255).numpy()
    with served(Settings(models=tmp_path)) as running:
        codes = asked(running, "encode", images)
        np.testing.assert_allclose(codes, wanted, atol=1e-4)
        drawn = image_of(decoder(), wanted[:, :, np.newaxis, np.newaxis], 0, 1).transpose(
            0, 2, 3, 1
        )
        assert np.abs(asked(running, "decode", wanted) - drawn).max() <= 1
        assert drawn.std() > 20
        made = asked(running, "reconstruct", images)
        assert np.abs(made - drawn).max() <= 1
        answer = running.client.post(
            "/v1/models/faces/score",
            content=npy(images),
            headers={"Content-Type": "application/x-npy"},
        )
        l1 = [result["terms"]["l1"] for result in answer.json()["results"]]
        np.testing.assert_allclose(l1, np.abs(drawn - images).mean(axis=(1, 2, 3)) / 255, atol=2e-3)


def test_two_torch_modules_of_another_layout_and_range_do_too(tmp_path: Path) -> None:
    out = tmp_path / "grey" / "3"
    done = run(
        *("--encoder", "elsewhere:grey", "--decoder", "elsewhere:ungrey", "--range", "0,255"),
        *("--layout", "nhwc", "--latent-prior", "uniform", "--image", "8x12x1"),
        *("--fit", "pad", "--out", str(out)),
    )
    assert done.exit_code == 0, done.output
    manifest = read(out).manifest
    assert manifest.image is not None
    assert (manifest.image.shape, manifest.image.fit) == ((8, 12, 1), "pad")
    assert manifest.latent.prior == "uniform"
    assert manifest.extra["imported"]["encoder"] == {"function": "elsewhere:grey"}
    images = RNG.integers(0, 256, (4, 8, 12, 1), np.uint8)
    with torch.no_grad():
        wanted = grey()(torch.from_numpy(images).float()).numpy()
    with served(Settings(models=tmp_path)) as running:
        np.testing.assert_allclose(asked(running, "encode", images, "grey"), wanted, atol=1e-4)
        drawn = image_of(ungrey(), wanted, 0, 255)
        assert np.abs(asked(running, "decode", wanted, "grey") - drawn).max() <= 1


def npy(array: Array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def asked(running: Any, verb: str, rows: Array, name: str = "faces") -> Array:
    answer = running.client.post(
        f"/v1/models/{name}/{verb}",
        content=npy(rows),
        headers={"Content-Type": "application/x-npy", "Accept": "application/x-npy"},
    )
    assert answer.status_code == 200, answer.text
    found: Array = np.load(io.BytesIO(answer.content)).astype(np.float64)
    return found


def given(**changes: Any) -> foreign.Asked:
    values: dict[str, Any] = {
        "encoder": "e.onnx", "decoder": "g.onnx", "low": 0.0, "high": 1.0, "layout": "nchw",
        "prior": "normal",
    }  # fmt: skip
    return foreign.Asked(**values | changes)


def test_one_of_each_kind_and_an_old_opset_make_a_pair() -> None:
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        wanted = encoder()((images + 1) / 2)
    for pair in (
        foreign.read(given(encoder="elsewhere:encoder")),
        foreign.read(given(encoder="old.onnx")),
        foreign.read(given(decoder="elsewhere:decoder", shape=(16, 16, 3))),
    ):
        with torch.no_grad():
            torch.testing.assert_close(pair.encoder(images), wanted, atol=1e-5, rtol=1e-5)
            assert pair.generator(wanted).shape == images.shape


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder": "none.onnx"}, "there is no file none.onnx"),
        ({"encoder": "elsewhere.py"}, "must be FILE.onnx or MODULE:FUNCTION"),
        ({"encoder": "nowhere:net"}, "nowhere:net: ModuleNotFoundError: No module named"),
        ({"encoder": "elsewhere:absent"}, "has no attribute 'absent'"),
        ({"encoder": "elsewhere:broken"}, "RuntimeError: the weights are on another disk$"),
        ({"encoder": "elsewhere:number"}, "gives a int, not a torch.nn.Module"),
        ({"encoder": "elsewhere:two"}, "gives a tuple, not one tensor"),
        ({"encoder": "two.onnx"}, "must have one output, it has 2"),
        ({"encoder": "fixed.onnx"}, r"first axis of its input in is \[2\].*free batch axis"),
        ({"encoder": "garbage.onnx"}, "garbage.onnx cannot be read as ONNX"),
        ({"encoder": "half.onnx"}, r"must be float32, it is tensor\(float16\)"),
        ({"decoder": "grey.onnx"}, "grey.onnx has images of channels 1, e.onnx of 3"),
        ({"decoder": "flat.onnx"}, "images of rank 4 are wanted"),
        ({"decoder": "elsewhere:ungrey"}, r"ungrey gives \[2, 8, 12, 1\] for 2 codes"),
        ({"layout": "nhwc"}, "1 or 3 channels, these 16: is --layout right"),
        ({"shape": (32, 16, 3)}, "e.onnx has images of height 16, --image of 32"),
        (
            {"encoder": "elsewhere:encoder", "decoder": "elsewhere:decoder"},
            "give --image HxWxC",
        ),
        (
            {"encoder": "elsewhere:grey", "decoder": "elsewhere:ungrey", "shape": (9, 9, 1)},
            r"grey does not take \[2, 1, 9, 9\]",
        ),
        ({"encoder": "e.onnx", "decoder": "wide.onnx"}, r"gives 6 numbers, but wide.onnx takes"),
        ({"encoder": "new.onnx"}, "new.onnx is of opset 23 and cannot be converted to 20"),
    ],
)
def test_what_cannot_be_a_pair_is_refused_in_a_sentence(
    changes: dict[str, Any], words: str, elsewhere: Path
) -> None:
    (elsewhere / "garbage.onnx").write_bytes(b"\x08\x07garbage")
    written("half.onnx", dtype=TensorProto.FLOAT16)
    written("new.onnx", operation="RMSNormalization", opset=23)
    with pytest.raises(BadForeign, match=words) as caught:
        foreign.read(given(**changes))
    assert "\n" not in str(caught.value)


def written(
    file: str,
    *,
    dtype: int = TensorProto.FLOAT,
    operation: str = "Identity",
    opset: int = 17,
) -> None:
    """A file of one operation on images, which it takes for codes."""
    shape: list[str | int | None] = ["B", 3, 16, 16]
    inputs = ["in", "scale"] if operation == "RMSNormalization" else ["in"]
    scale = helper.make_tensor("scale", dtype, [16], [1.0] * 16)
    graph = helper.make_graph(
        [helper.make_node(operation, inputs, ["out"])],
        "g",
        [helper.make_tensor_value_info("in", dtype, shape)],
        [helper.make_tensor_value_info("out", dtype, shape)],
        [scale] if len(inputs) > 1 else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.save(model, file)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--range", "1,-1"), "range must be LOW,HIGH, got 1,-1"),
        (("--range", "0,inf"), "range must be LOW,HIGH"),
        (("--range", "white"), "got 'white'"),
        (("--image", "16,16,3"), "an image must be HxWxC"),
        (("--encoder", "elsewhere:dice", "--image", "16x16x3"), "random numbers"),
        (("--latent-prior", "uniform"), "it needs tanh"),
        (("--layout", "chwn"), "chwn"),
        (("--out", "nameless"), "NAME/VERSION"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(
    arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    usual = ("--encoder", "e.onnx", "--decoder", "g.onnx", "--out", str(tmp_path / "x" / "1"))
    done = run(*usual, *arguments)
    assert done.exit_code == 2, done.output
    assert words in done.stderr
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []
