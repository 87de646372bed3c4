"""The oracle is what other tests measure with, so it is measured here against onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from oracle import make_oracle, oracle_decode, oracle_encode, oracle_reconstruct, oracle_score
from serving.bundle import read


@pytest.mark.parametrize(("height", "width", "channels", "block"), [(8, 8, 3, 2), (6, 9, 1, 3)])
def test_the_oracles_graphs_give_what_numpy_gives(
    tmp_path: Path, height: int, width: int, channels: int, block: int
) -> None:
    size: dict[str, Any] = {"height": height, "width": width, "channels": channels, "block": block}
    bundle = read(make_oracle(tmp_path, **size))

    def run(graph: str, tensor: np.ndarray) -> list[np.ndarray]:
        session = onnxruntime.InferenceSession(
            bundle.graph_file(graph), providers=["CPUExecutionProvider"]
        )
        outputs = session.run(None, {bundle.manifest.graphs[graph].inputs[0].name: tensor})
        return list(outputs)

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, height, width, channels), np.uint8)
    latents = oracle_encode(images, block)
    np.testing.assert_allclose(run("encode", images)[0], latents, rtol=0, atol=1e-6)
    drawn = rng.normal(size=latents.shape).astype(np.float32)  # beyond [-1, 1], so clipped
    np.testing.assert_array_equal(run("decode", drawn)[0], oracle_decode(drawn, **size))
    codes, reconstructions = run("reconstruct", images)
    np.testing.assert_allclose(codes, latents, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(reconstructions, oracle_reconstruct(images, block))
    terms, heat = run("score", images)
    np.testing.assert_allclose(terms, oracle_score(images, block).terms, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(heat, oracle_score(images, block).heat, rtol=1e-5, atol=1e-6)


def test_a_code_by_hand(oracle_bundle: Path) -> None:
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[0, 0, 0, 1] = 255  # one of four pixels, green: the mean is 63.75, scaled -0.5
    codes = oracle_encode(image)
    assert codes.shape == (1, 48)
    assert codes[0, 16] == -0.5  # [C, 4, 4]: green's first
    assert np.delete(codes, 16).tolist() == [-1.0] * 47
    made = oracle_reconstruct(image)
    assert made[0, :2, :2, 1].tolist() == [[64, 64], [64, 64]]  # 63.75 rounded, over its block
    assert made.sum() == 4 * 64
    terms = oracle_score(image).terms[0]
    assert terms[0] == pytest.approx((191 + 3 * 64) / 255 / 192)
    assert terms[3] == pytest.approx((0.25 / 127.5) ** 2 / 48, rel=1e-4)
