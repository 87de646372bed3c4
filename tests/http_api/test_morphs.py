"""Morphs: their ends, their legs, what moves."""

import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from files import png
from oracle import oracle_decode, oracle_encode, oracle_reconstruct
from serving import images, latents
from serving.images import ImageSpec

V = "/v1/models/default/interpolate"
IMAGES = np.random.default_rng(6).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
SPEC = ImageSpec(height=8, width=8, channels=3, fit="stretch", filter="lanczos", background=255)


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def morph(client: httpx.Client, given: Any, **parameters: Any) -> Any:
    answer = client.post(
        V,
        content=npy(given),
        params=parameters,
        headers={"Content-Type": "application/x-npy", "Accept": "application/x-npy"},
    )
    assert answer.status_code == 200, answer.text
    return np.load(io.BytesIO(answer.content))


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("frames", [2, 5])
def test_an_exact_morph_meets_every_image_it_goes_through(
    client: httpx.Client, count: int, frames: int
) -> None:
    given = IMAGES[:count]
    made = morph(client, given, frames=frames, exact="true")
    assert len(made) == (count - 1) * (frames - 1) + 1
    np.testing.assert_array_equal(made[:: frames - 1], given)
    plain = morph(client, given, frames=frames)
    np.testing.assert_array_equal(plain[:: frames - 1], oracle_reconstruct(given))


def test_what_the_ends_lack_is_blended_in_linearly(client: httpx.Client) -> None:
    made = morph(client, IMAGES[:2], frames=5, exact="true").astype(float)
    path = oracle_decode(latents.path(oracle_encode(IMAGES[:2]), 5)).astype(float)
    lacking = IMAGES[:2].astype(float) - oracle_reconstruct(IMAGES[:2])
    for i, t in enumerate([0, 0.25, 0.5, 0.75, 1]):
        wanted = (path[i] + (1 - t) * lacking[0] + t * lacking[1]).clip(0, 255)
        assert np.abs(made[i] - wanted).max() <= 1.01  # G's last bit, and rounding


def test_the_ends_are_the_images_as_the_model_sees_them(client: httpx.Client) -> None:
    large = np.random.default_rng(7).integers(0, 256, (2, 20, 31, 3), dtype=np.uint8)
    files = [("images", (f"{i}.png", png(one))) for i, one in enumerate(large)]
    answer = client.post(
        V,
        files=files,
        data={"exact": "true", "frames": "3"},
        headers={"Accept": "application/x-npy"},
    )
    made = np.load(io.BytesIO(answer.content))
    for end, one in zip((made[0], made[-1]), large, strict=True):
        np.testing.assert_array_equal(end, images.decode(png(one), SPEC, max_pixels=10**6))


def test_an_exact_morph_moves_and_stays_exact_in_a_lossless_file(client: httpx.Client) -> None:
    answer = client.post(
        V,
        content=npy(IMAGES[:2]),
        params={"exact": "true", "frames": 4, "fps": 20},
        headers={"Content-Type": "application/x-npy", "Accept": "image/webp"},
    )
    with Image.open(io.BytesIO(answer.content)) as moving:
        assert getattr(moving, "n_frames", 1) == 4
        np.testing.assert_array_equal(np.asarray(moving.convert("RGB")), IMAGES[0])
        moving.seek(3)
        np.testing.assert_array_equal(np.asarray(moving.convert("RGB")), IMAGES[1])


def test_equal_images_have_no_arc_between_them(client: httpx.Client) -> None:
    made = morph(client, IMAGES[[0, 0]], frames=3)  # parallel codes: the line is straight
    np.testing.assert_array_equal(made, oracle_reconstruct(IMAGES[[0, 0, 0]]))


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"exact": "perhaps"}, 400, "exact must be true or false"),
        ({"exact": "1"}, 400, "exact must be true or false"),
        ({"path": "round"}, 422, "slerp, lerp"),
        ({"frames": "200"}, 422, "at most 256 frames in all, this would make 598"),
        ({"frames": "300"}, 422, "at most 256"),
        ({"fps": "51"}, 422, "at most 50"),
    ],
)
def test_what_is_wrong_is_told_with_its_limit(
    client: httpx.Client, given: dict[str, str], status: int, words: str
) -> None:
    headers = {"Content-Type": "application/x-npy"}
    answer = client.post(V, content=npy(IMAGES), params=given, headers=headers)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text


@pytest.mark.parametrize("count", [1, 17])
def test_a_morph_goes_through_2_to_16_images(client: httpx.Client, count: int) -> None:
    headers = {"Content-Type": "application/x-npy"}
    answer = client.post(V, content=npy(IMAGES[[0] * count]), headers=headers)
    assert answer.status_code == 422
    assert f"2 to 16 items, got {count}" in answer.json()["detail"]


def test_exact_is_true_or_false_in_json(client: httpx.Client) -> None:
    answer = client.post(V, json={"images": ["x", "y"], "exact": 1})
    assert (answer.status_code, "true or false" in answer.json()["detail"]) == (400, True)
