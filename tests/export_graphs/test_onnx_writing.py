"""Written graphs: free batch axis, no norm left, silent, and nothing of this machine inside."""

import logging
import warnings

import onnx
import pytest

from export import graphs
from export.onnx_writer import OPSET, to_onnx
from small_pairs import image_pair, vector_pair


@pytest.fixture(scope="module")
def models() -> dict[str, onnx.ModelProto]:
    pair = image_pair((24, 40, 3)).folded()
    return {name: to_onnx(graph, pair) for name, graph in graphs.build(pair).items()}


def signature(values: list[onnx.ValueInfoProto]) -> list[tuple[str, int, list[str | int]]]:
    return [
        (
            v.name,
            v.type.tensor_type.elem_type,
            [axis.dim_param or axis.dim_value for axis in v.type.tensor_type.shape.dim],
        )
        for v in values
    ]


def test_signatures(models: dict[str, onnx.ModelProto]) -> None:
    images = onnx.TensorProto.UINT8, ["N", 24, 40, 3]
    latents = ("latents", onnx.TensorProto.FLOAT, ["N", 5])
    expected = {
        "encode": ([("images", *images)], [latents]),
        "decode": ([latents], [("images", *images)]),
        "reconstruct": ([("images", *images)], [latents, ("reconstructions", *images)]),
        "score": (
            [("images", *images)],
            [
                ("terms", onnx.TensorProto.FLOAT, ["N", 8]),
                ("heat", onnx.TensorProto.FLOAT, ["N", 24, 40]),
            ],
        ),
    }
    for name, model in models.items():
        found = signature(list(model.graph.input)), signature(list(model.graph.output))
        assert found == expected[name]
        assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]


def test_no_norm_is_left_and_shared_weights_are_the_same_bytes(
    models: dict[str, onnx.ModelProto],
) -> None:
    large = {
        name: {t.raw_data for t in model.graph.initializer if len(t.raw_data) >= 256}
        for name, model in models.items()
    }
    for model in models.values():
        assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert large["encode"]
    assert large["decode"]
    assert large["reconstruct"] == large["encode"] | large["decode"]
    # though E is in there twice; what SSIM blurs with is no weight
    assert large["reconstruct"] < large["score"]
    assert all(len(window) == 4 * 5 * 3 * 11 for window in large["score"] - large["reconstruct"])


def test_nothing_tells_where_the_graph_was_made(models: dict[str, onnx.ModelProto]) -> None:
    for model in models.values():
        bare = onnx.ModelProto()
        bare.CopyFrom(model)
        for tensor in bare.graph.initializer:
            tensor.ClearField("raw_data")  # numbers may be any bytes
        text = str(bare)  # lengths between the names may be any bytes, too
        for trace in ("/", ".py", "stack_trace", "fx_node"):
            assert trace not in text


def test_writing_is_silent_and_leaves_logging_and_warnings_as_they_were(
    capfd: pytest.CaptureFixture[str],
) -> None:
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    log.setLevel(logging.INFO)
    filters = list(warnings.filters)
    pair = vector_pair().folded()
    to_onnx(graphs.build(pair)["encode"], pair)
    assert capfd.readouterr() == ("", "")
    assert log.level == logging.INFO
    assert warnings.filters == filters
