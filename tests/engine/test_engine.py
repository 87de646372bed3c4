"""The engine against the oracle's numpy answers, its checks, and the truth about devices."""

import ctypes
import json
import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from oracle import make_oracle, oracle_encode, oracle_reconstruct, oracle_score
from serving import engine as engine_module
from serving.bundle import read, sha256_of
from serving.cores import usable_cores
from serving.engine import Engine
from serving.errors import BundleError, DeviceError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def engine(oracle_bundle: Path) -> Engine:
    return Engine(read(oracle_bundle), device="cpu")


def test_every_graph_gives_what_numpy_gives(engine: Engine) -> None:
    (latents,) = engine.run("encode", [IMAGES])
    np.testing.assert_allclose(latents, oracle_encode(IMAGES), atol=1e-5)
    codes, made = engine.run("reconstruct", [IMAGES])
    np.testing.assert_allclose(codes, latents, atol=1e-6)
    np.testing.assert_array_equal(made, oracle_reconstruct(IMAGES))
    np.testing.assert_array_equal(engine.run("decode", [latents])[0], made)
    wanted_terms, wanted_heat = oracle_score(IMAGES)
    terms, heat = engine.run("score", [IMAGES])
    np.testing.assert_allclose(terms, wanted_terms, atol=1e-5)
    np.testing.assert_allclose(heat, wanted_heat, atol=1e-5)


def test_a_row_does_not_depend_on_its_batch(engine: Engine) -> None:
    together = engine.run("encode", [IMAGES])[0]
    alone = [engine.run("encode", [IMAGES[i : i + 1]])[0][0] for i in range(len(IMAGES))]
    np.testing.assert_array_equal(together, alone)


def test_inputs_need_not_be_contiguous(engine: Engine) -> None:
    turned = IMAGES[::-1, :, ::-1]
    np.testing.assert_allclose(engine.run("encode", [turned])[0], oracle_encode(turned), atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([IMAGES.astype(np.float32)], "wants images as uint8"),
        ([IMAGES[:, :7]], r"got uint8 \[5, 7, 8, 3\]"),
        ([IMAGES[0]], r"wants images as uint8 \[N, 8, 8, 3\]"),
        ([IMAGES[:0]], "inputs of"),
        ([], "takes 1 inputs, got 0"),
        ([IMAGES, IMAGES], "takes 1 inputs, got 2"),
    ],
)
def test_what_does_not_fit_the_manifest_is_refused(
    engine: Engine, inputs: list[Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        engine.run("encode", inputs)


def test_an_unknown_graph_is_a_key_error(engine: Engine) -> None:
    with pytest.raises(KeyError):
        engine.run("dream", [IMAGES])


def test_many_threads_may_run_at_once(engine: Engine) -> None:
    wanted = oracle_encode(IMAGES)
    wrong: list[int] = []

    def caller(k: int) -> None:
        rows = np.roll(IMAGES, k, axis=0)
        for _ in range(50):
            if not np.allclose(engine.run("encode", [rows])[0], np.roll(wanted, k, 0), atol=1e-5):
                wrong.append(k)

    threads = [threading.Thread(target=caller, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_warming_up_runs_every_graph_at_every_size(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []
    run = engine.run

    def noting(graph: str, inputs: Any) -> Any:
        seen.append((graph, len(inputs[0])))
        return run(graph, inputs)

    monkeypatch.setattr(engine, "run", noting)
    engine.warm_up((1, 3))
    graphs = ("encode", "decode", "reconstruct", "score")
    assert sorted(seen) == sorted((graph, n) for graph in graphs for n in (1, 3))


def test_a_closed_engine_runs_nothing(engine: Engine) -> None:
    engine.close()
    with pytest.raises(KeyError):
        engine.run("encode", [IMAGES])


def test_sessions_compute_on_their_callers_thread(engine: Engine) -> None:
    options = engine._sessions["encode"].get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.get_session_config_entry("session.set_denormal_as_zero") == "1"


def test_without_a_driver_auto_takes_the_cpu_in_silence(
    oracle_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with caplog.at_level(logging.DEBUG):
        engine = Engine(read(oracle_bundle), device="auto")
    assert engine.device == "cpu"
    assert (*capfd.readouterr(), caplog.text) == ("", "", "")


def test_cuda_without_a_driver_is_refused(
    oracle_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(DeviceError, match=r"cuda was asked for, but .*"):
        Engine(read(oracle_bundle), device="cuda")


@pytest.mark.skipif(
    "CUDAExecutionProvider" not in ort.get_available_providers()
    or engine_module._gpus()[1] is None,
    reason="needs a build for CUDA on a machine without it",
)
def test_a_session_that_lands_on_the_cpu_is_not_called_cuda(
    oracle_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """As where the driver is there and CUDA's libraries are not: onnxruntime falls back."""
    monkeypatch.setattr(engine_module, "_gpus", lambda: (1, None))
    bundle = read(oracle_bundle)
    with pytest.raises(DeviceError, match="could not load its CUDA libraries"):
        Engine(bundle, device="cuda")
    engine = Engine(bundle, device="auto")
    assert engine.device == "cpu"
    assert "running on the CPU" in caplog.text
    assert capfd.readouterr().out == ""


def test_the_driver_without_a_device_is_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        def cuInit(self, flags: int) -> int:
            return 100  # CUDA_ERROR_NO_DEVICE

    monkeypatch.setattr(ort, "get_available_providers", lambda: [engine_module._CUDA])
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver())
    assert engine_module._gpus()[1] == "the NVIDIA driver shows no device"


def test_a_graph_that_onnxruntime_refuses_is_named(oracle_bundle: Path) -> None:
    bundle = read(oracle_bundle)

    class Damaged:
        manifest = bundle.manifest

        def contents(self) -> dict[str, bytes]:
            return dict.fromkeys(bundle.contents(), Path(__file__).read_bytes())

        def graph_file(self, name: str) -> Path:
            return Path(__file__)

    with pytest.raises(BundleError, match=r"test_engine\.py: onnxruntime cannot load it"):
        Engine(Damaged(), device="cpu")  # type: ignore[arg-type]


def grown(model: onnx.ModelProto) -> None:
    """Only running it shows that images come out twice as high: repeats are [1, 2, 1, 1] + 0 z."""
    nodes, make = model.graph.node, onnx.helper.make_node
    for name, value in (("zero", np.float32(0)), ("ones", np.array([1, 2, 1, 1], np.float32))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value), name))
    cast = nodes.pop()
    nodes.extend(
        [
            make("ReduceMean", ["latents"], ["mean"], keepdims=0),
            make("Mul", ["mean", "zero"], ["nothing"]),
            make("Add", ["nothing", "ones"], ["repeats"]),
            make("Cast", ["repeats"], ["whole"], to=onnx.TensorProto.INT64),
            make("Tile", [cast.input[0], "whole"], ["twice"]),
            make("Cast", ["twice"], ["images"], to=onnx.TensorProto.UINT8),
        ]
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")


def unpacked(model: onnx.ModelProto) -> None:
    model.graph.node[-1].attribute[0].i = onnx.TensorProto.FLOAT
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def renamed(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = model.graph.output[0].name = "pictures"


def demanding(model: onnx.ModelProto) -> None:
    labels = onnx.helper.make_tensor_value_info("labels", onnx.TensorProto.INT64, ["N"])
    model.graph.input.append(labels)


def narrowed(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 47


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (grown, r"images comes out as uint8 \[1, 16, 8, 3\], .* says uint8 \[N, 8, 8, 3\]"),
        (unpacked, r"output images is float32 \[N, 8, 8, 3\], .* says uint8 \[N, 8, 8, 3\]"),
        (renamed, "output images is missing; there is: pictures"),
        (demanding, "input labels is not in the manifest"),
        (narrowed, r"input latents is float32 \[N, 47\], .* says float32 \[N, 48\]"),
    ],
)
def test_a_graph_that_is_not_as_the_manifest_says_is_named(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], words: str
) -> None:
    path = make_oracle(tmp_path)
    file = path / "decode.onnx"
    model = onnx.load(file)
    change(model)
    file.write_bytes(model.SerializeToString())
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["graphs"]["decode"]["sha256"] = sha256_of(file)
    (path / "manifest.json").write_text(json.dumps(manifest))
    bundle = read(path)
    with pytest.raises(BundleError, match=rf"^{re.escape(str(file))}: .*{words}$"):
        Engine(bundle, device="cpu").warm_up((1,))


@pytest.mark.parametrize("side", ["encode", "decode"])
def test_a_graph_of_other_sizes_than_the_manifests_is_named(tmp_path: Path, side: str) -> None:
    path = make_oracle(tmp_path)
    larger = make_oracle(tmp_path, name="larger", height=16, width=16, block=4)  # Z = 48 too
    data = (larger / f"{side}.onnx").read_bytes()
    (path / f"{side}.onnx").write_bytes(data)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["graphs"][side]["sha256"] = sha256_of(path / f"{side}.onnx")
    (path / "manifest.json").write_text(json.dumps(manifest))
    bundle = read(path)
    with pytest.raises(
        BundleError, match=rf"{side}\.onnx: its .* images is uint8 \[N, 16, 16, 3\]"
    ):
        Engine(bundle, device="cpu")


@pytest.mark.parametrize(("device", "threads"), [("tpu", 0), ("cpu", -1)])
def test_nonsense_settings_are_refused(oracle_bundle: Path, device: Any, threads: int) -> None:
    with pytest.raises(ValueError, match=r"no device|threads"):
        Engine(read(oracle_bundle), device=device, threads=threads)


def test_workers_are_the_threads_asked_for_or_the_usable_cores(oracle_bundle: Path) -> None:
    assert Engine(read(oracle_bundle), device="cpu", threads=3).workers == 3
    assert Engine(read(oracle_bundle), device="cpu").workers == usable_cores() >= 1


@pytest.mark.parametrize(
    ("gpus", "taken"), [(0, [0, 0, 0]), (1, [0, 0, 0]), (2, [0, 1, 0]), (4, [0, 1, 2])]
)
def test_workers_take_turns_at_the_gpus(gpus: int, taken: list[int]) -> None:
    assert [engine_module.device_id(slot, gpus) for slot in range(3)] == taken
