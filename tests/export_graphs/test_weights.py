"""One weights.bin for several graphs, on models written by hand."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import weights

SHARED = np.arange(16 * 16, dtype=np.float32).reshape(16, 16) / 64
OWN = SHARED[::-1].copy()
SMALL = np.linspace(0, 1, 16, dtype=np.float32)


def model(weight: np.ndarray, *, name: str, typed: bool = False) -> onnx.ModelProto:
    """x @ weight + SMALL; `typed` keeps the weight as a list of floats, not as raw bytes."""
    tensor = (
        helper.make_tensor(name, TensorProto.FLOAT, weight.shape, weight.ravel().tolist())
        if typed
        else numpy_helper.from_array(weight, name)
    )
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", name, "small"], ["y"])],
        "hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 16])],
        [tensor, numpy_helper.from_array(SMALL, "small")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def answer(path: Path, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"x": x})[0]
    return result


def place(tensor: onnx.TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def test_equal_bytes_are_written_once_and_answers_stay_bit_for_bit(tmp_path: Path) -> None:
    models = [
        model(SHARED, name="a"),
        model(OWN, name="b"),
        model(SHARED, name="another name"),
        model(SHARED, name="c", typed=True),
    ]
    x = np.random.default_rng(0).standard_normal((3, 16)).astype(np.float32)
    before = []
    for i, each in enumerate(models):
        onnx.save(each, tmp_path / f"whole{i}.onnx")
        before.append(answer(tmp_path / f"whole{i}.onnx", x))
    file = weights.share(models, tmp_path)
    assert file.name == "weights.bin"
    assert file.stat().st_size == 4096 + OWN.nbytes  # SHARED, a gap to the next page, OWN
    data = file.read_bytes()
    assert data[: SHARED.nbytes] == SHARED.tobytes()
    assert data[4096:] == OWN.tobytes()
    assert set(data[SHARED.nbytes : 4096]) == {0}
    for i, (each, expected) in enumerate(zip(models, before, strict=True)):
        path = tmp_path / f"shared{i}.onnx"
        path.write_bytes(each.SerializeToString())
        assert path.stat().st_size < SHARED.nbytes
        assert np.array_equal(answer(path, x), expected)


def test_small_tensors_stay_in_their_graph(tmp_path: Path) -> None:
    one = model(SHARED, name="a")
    weights.share([one], tmp_path)
    large, small = one.graph.initializer
    assert place(large) == {"location": "weights.bin", "offset": "0", "length": "1024"}
    assert not place(small)
    assert numpy_helper.to_array(small).tolist() == SMALL.tolist()


@pytest.mark.parametrize(("numbers", "moved"), [(63, False), (64, True)])
def test_256_bytes_are_large(tmp_path: Path, numbers: int, moved: bool) -> None:
    tensor = numpy_helper.from_array(np.zeros(numbers, np.float32), "t")
    graph = helper.make_graph([], "hand", [], [], [tensor])
    one = helper.make_model(graph)
    weights.share([one], tmp_path)
    assert bool(place(one.graph.initializer[0])) == moved
    assert (tmp_path / "weights.bin").stat().st_size == (256 if moved else 0)


def test_the_same_graphs_give_the_same_file(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        models = [model(OWN, name="b"), model(SHARED, name="a")]
        files.append(weights.share(models, tmp_path / name).read_bytes())
    assert files[0] == files[1]
