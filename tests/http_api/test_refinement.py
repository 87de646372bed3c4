"""Reconstructions that are refined, with pairs whose every step can be worked out by hand."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from lines import make_line
from oracle import make_oracle, oracle_reconstruct

ROWS = np.array([[1, 2], [-3, 0.5], [0, 0]], np.float32)
SIZES = np.abs(ROWS).mean(axis=1)
IMAGES = np.random.default_rng(4).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, serve: Any) -> Iterator[httpx.Client]:
    """near: G(E(x)) = 0.8 x.  far: 4 x, from where the steps lead away.  oracle: G(E(x)) is x's."""
    folder = tmp_path_factory.mktemp("refined")
    make_line(folder, name="near", down=0.4)
    make_line(folder, name="far", down=2)
    make_oracle(folder)
    with serve(models=folder) as running:
        yield running.client


def reconstruct(client: httpx.Client, model: str, refine: int | None) -> dict[str, Any]:
    given = {} if refine is None else {"refine": refine}
    answer = client.post(
        f"/v1/models/{model}/reconstruct", json={"vectors": ROWS.tolist(), **given}
    )
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


@pytest.mark.parametrize("refine", [1, 2, 5, 16])
def test_each_step_leaves_a_fifth_of_the_error(client: httpx.Client, refine: int) -> None:
    # z_k = z_{k-1} + 2x - 0.8 z_{k-1}, so that 2.5 x - z_k is a fifth of what it was; 0.5 x at 0
    document = reconstruct(client, "near", refine)
    left = 0.2 ** (refine + 1)
    np.testing.assert_allclose(document["l1"], left * SIZES, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(document["vectors"], (1 - left) * ROWS, atol=1e-6)
    np.testing.assert_allclose(document["latents"], 2.5 * (1 - left) * ROWS, atol=1e-6)
    if refine < 5:  # later steps are lost in rounding
        assert document["steps"] == [refine, refine, 0]


def test_without_steps_it_is_what_it_was(client: httpx.Client) -> None:
    plain = reconstruct(client, "near", None)
    np.testing.assert_allclose(plain["vectors"], 0.8 * ROWS, rtol=1e-6)
    assert "steps" not in plain
    none = reconstruct(client, "near", 0)
    assert {**none, "usage": 0} == {**plain, "usage": 0}


def test_where_steps_lead_away_the_first_is_kept(client: httpx.Client) -> None:
    # z_1 = 2x + 2x - 8x: each error is three times the one before
    document = reconstruct(client, "far", 16)
    assert document["vectors"] == (4 * ROWS).tolist()
    assert document["latents"] == (2 * ROWS).tolist()
    np.testing.assert_allclose(document["l1"], 3 * SIZES)
    assert document["steps"] == [0, 0, 0]


def test_images_are_refined_too_and_never_for_the_worse(client: httpx.Client) -> None:
    """This pair is its own inverse but for rounding: there is a level to win, or nothing."""
    buffer = io.BytesIO()
    np.save(buffer, IMAGES)
    answer = client.post(
        "/v1/models/oracle/reconstruct?refine=3",
        content=buffer.getvalue(),
        headers={"Content-Type": "application/x-npy"},
    )
    document = answer.json()
    uris = [base64.b64decode(uri.partition(",")[2]) for uri in document["images"]]
    made = np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in uris]).astype(int)
    once = oracle_reconstruct(IMAGES).astype(int)
    assert np.abs(made - once).max() <= 1
    l1 = np.abs(made - IMAGES).mean(axis=(1, 2, 3)) / 255
    np.testing.assert_allclose(document["l1"], l1, atol=1e-6)
    assert (l1 <= np.abs(once - IMAGES).mean(axis=(1, 2, 3)) / 255).all()
    assert len(document["steps"]) == 2


@pytest.mark.parametrize("refine", [-1, 17])
def test_the_limit_is_told(client: httpx.Client, refine: int) -> None:
    answer = client.post(
        f"/v1/models/near/reconstruct?refine={refine}", json={"vectors": ROWS.tolist()}
    )
    assert answer.status_code == 422
    assert "refine must be at least 0 and at most 16" in answer.json()["detail"]
