"""Every verb with every input and every output format, against numpy's answers."""

import base64
import io
import itertools
import json
import zipfile
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from files import png
from oracle import oracle_decode, oracle_encode, oracle_reconstruct, oracle_score
from serving import latents as latent_space
from serving import scoring

Array = np.ndarray[Any, Any]
V = "/v1/models/default/"
RNG = np.random.default_rng(1)
IMAGES = RNG.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
CODES = oracle_encode(IMAGES)
FIGURES = ["application/json", "application/x-npy"]
PICTURES = ["image/png", "image/webp", "image/gif", "application/zip"]


def npy(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def data_uri(image: Array) -> str:
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def un_npy(data: bytes) -> Array:
    array: Array = np.load(io.BytesIO(data), allow_pickle=False)
    return array


def un_png(data: bytes) -> Array:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def un_uris(uris: list[str]) -> Array:
    return np.stack([un_png(base64.b64decode(uri.partition(",")[2])) for uri in uris])


def send(images: Array, how: str, **parameters: Any) -> dict[str, Any]:
    """The arguments of a POST that sends images in one of the ways there are."""
    uris = [data_uri(image) for image in images]
    query = {"params": parameters} if parameters else {}
    if how == "raw":
        assert len(images) == 1
        return {"content": png(images[0]), "headers": {"Content-Type": "image/png"}, **query}
    if how == "form":
        files = [("images", (f"{i}.png", png(image))) for i, image in enumerate(images)]
        return {"files": files, "data": {key: str(value) for key, value in parameters.items()}}
    if how == "json":
        return {"json": {"images": uris, **parameters}}
    if how == "bare base64":
        return {"json": {"images": [uri.partition(",")[2] for uri in uris], **parameters}}
    return {"content": npy(images), "headers": {"Content-Type": "application/x-npy"}, **query}


WAYS = ["raw", "form", "json", "bare base64", "npy"]


def post(client: httpx.Client, verb: str, accept: str, sent: dict[str, Any]) -> httpx.Response:
    headers = {**sent.pop("headers", {}), "Accept": accept}
    answer = client.post(V + verb, headers=headers, **sent)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == accept
    return answer


def images_in(answer: httpx.Response, accept: str) -> Array:
    """The images of an answer in any format; the grid is cut, an animation's frames are given."""
    if accept == "application/json":
        return un_uris(answer.json()["images"])
    if accept == "application/x-npy":
        return un_npy(answer.content)
    if accept == "application/zip":
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.namelist() == [f"{i:04}.png" for i in range(len(archive.namelist()))]
            return np.stack([un_png(archive.read(name)) for name in archive.namelist()])
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.format == accept.partition("/")[2].upper()
    return cut(np.asarray(picture.convert("RGB")))


def cut(picture: Array) -> Array:
    """The 8 x 8 cells of a grid, row by row."""
    rows, columns = picture.shape[0] // 8, picture.shape[1] // 8
    cells = picture.reshape(rows, 8, columns, 8, 3).swapaxes(1, 2)
    return cells.reshape(-1, 8, 8, 3)


@pytest.mark.parametrize(("how", "accept"), list(itertools.product(WAYS, FIGURES)))
def test_encode(client: httpx.Client, how: str, accept: str) -> None:
    images = IMAGES[:1] if how == "raw" else IMAGES
    answer = post(client, "encode", accept, send(images, how))
    if accept == "application/json":
        document = answer.json()
        latents = np.array(document["latents"], np.float32)
        assert document["model"] == "oracle@1"
        assert document["usage"]["images"] == len(images)
        assert document["usage"]["device"] == "cpu"
        assert document["usage"]["batch"] >= len(images)
        assert document["usage"]["compute_ms"] > 0
    else:
        latents = un_npy(answer.content)
        assert latents.dtype == np.float32
    np.testing.assert_allclose(latents, CODES[: len(images)], atol=1e-5)


@pytest.mark.parametrize("how", WAYS)
def test_base64_latents_are_little_endian_float32(client: httpx.Client, how: str) -> None:
    sent = send(IMAGES[:1], how, encoding_format="base64")
    (text,) = post(client, "encode", "application/json", sent).json()["latents"]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(text), "<f4"), CODES[0], atol=1e-5)


@pytest.mark.parametrize(
    ("how", "accept"), list(itertools.product(["json", "npy"], FIGURES + PICTURES))
)
def test_decode(client: httpx.Client, how: str, accept: str) -> None:
    if how == "json":
        sent: dict[str, Any] = {"json": {"latents": CODES.tolist()}}
    else:
        sent = {"content": npy(CODES), "headers": {"Content-Type": "application/x-npy"}}
    made = images_in(post(client, "decode", accept, sent), accept)
    check(made, oracle_decode(CODES), accept)


@pytest.mark.parametrize(("how", "accept"), list(itertools.product(WAYS, FIGURES + PICTURES)))
def test_reconstruct(client: httpx.Client, how: str, accept: str) -> None:
    images = IMAGES[:1] if how == "raw" else IMAGES
    answer = post(client, "reconstruct", accept, send(images, how))
    check(images_in(answer, accept), oracle_reconstruct(images), accept)
    if accept == "application/json":
        document = answer.json()
        np.testing.assert_allclose(document["latents"], CODES[: len(images)], atol=1e-5)
        wanted = oracle_score(images).terms[:, 0]
        np.testing.assert_allclose(document["l1"], wanted, atol=1e-6)


@pytest.mark.parametrize(("how", "accept"), list(itertools.product(WAYS, FIGURES)))
def test_score(client: httpx.Client, how: str, accept: str) -> None:
    images = IMAGES[:1] if how == "raw" else IMAGES
    wanted = oracle_score(images).terms
    answer = post(client, "score", accept, send(images, how, by="l2"))
    if accept == "application/x-npy":
        np.testing.assert_allclose(un_npy(answer.content), wanted[:, 1], atol=1e-6)
        return
    document = answer.json()
    assert document["by"] == "l2"
    for result, row in zip(document["results"], wanted, strict=True):
        assert result["score"] == pytest.approx(row[1], abs=1e-6)
        assert list(result["terms"]) == ["l1", "l2", "l2s", "cycle"]
        np.testing.assert_allclose(list(result["terms"].values()), row, atol=1e-6)
        # l2 was not calibrated: what nobody can know is null
        assert (result["p_value"], result["anomalous"], result["heatmap"]) == (None, None, None)
    assert document["threshold"] is None
    assert "not calibrated" in document["note"]


@pytest.mark.parametrize("fpr", [0.5, 0.05, 0.001])
def test_scores_are_judged_by_the_calibration(client: httpx.Client, fpr: float) -> None:
    images = np.concatenate([IMAGES, np.full((1, 8, 8, 3), 7, np.uint8)])
    document = post(client, "score", "application/json", send(images, "json", fpr=fpr)).json()
    assert document["by"] == "l1"
    l1 = oracle_score(images).terms[:, 0]
    verdict = scoring.decide(l1, np.arange(99) / 1000, fpr=fpr)
    assert [result["p_value"] for result in document["results"]] == verdict.p_values
    assert [result["anomalous"] for result in document["results"]] == verdict.anomalous
    assert document["threshold"] == verdict.threshold
    assert ("note" in document) == (fpr < 1 / 100)


def test_heat_maps(client: httpx.Client) -> None:
    heat = oracle_score(IMAGES).heat
    sent = send(IMAGES, "json", heatmap="map")
    results = post(client, "score", "application/json", sent).json()["results"]
    maps = un_uris([result["heatmap"] for result in results])
    assert np.abs(maps[..., 0] - heat * 255).max() <= 0.51
    sent = send(IMAGES, "json", heatmap="overlay")
    results = post(client, "score", "application/json", sent).json()["results"]
    overlays = un_uris([result["heatmap"] for result in results])
    assert overlays.shape == IMAGES.shape
    shown = images_in(post(client, "score", "image/png", send(IMAGES, "json")), "image/png")
    np.testing.assert_array_equal(shown[:3], overlays)


@pytest.mark.parametrize(("how", "accept"), list(itertools.product(WAYS[1:], FIGURES + PICTURES)))
def test_interpolate(client: httpx.Client, how: str, accept: str) -> None:
    wanted = oracle_decode(latent_space.path(CODES, 5))
    answer = post(client, "interpolate", accept, send(IMAGES, how, frames=5))
    if accept not in ("image/webp", "image/gif"):
        check(images_in(answer, accept), wanted, accept)
        return
    moving = Image.open(io.BytesIO(answer.content))
    assert moving.n_frames == len(wanted) == 9  # type: ignore[attr-defined]
    for i, frame in enumerate(wanted):
        moving.seek(i)
        shown = np.asarray(moving.convert("RGB")).astype(int)
        # GIF has 256 colours, 192 pixels have fewer
        assert np.abs(shown - frame).max() <= (1 if accept == "image/webp" else 8)


def test_interpolate_on_a_straight_line(client: httpx.Client) -> None:
    sent = send(IMAGES[:2], "npy", frames=3, path="lerp")
    made = un_npy(post(client, "interpolate", "application/x-npy", sent).content)
    wanted = oracle_decode(np.stack([CODES[0], (CODES[0] + CODES[1]) / 2, CODES[1]]))
    assert np.abs(made.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("accept", FIGURES + PICTURES)
def test_sample(client: httpx.Client, accept: str) -> None:
    wanted = oracle_decode(latent_space.sample(7, 3, 48, "normal"))
    answer = post(client, "sample", accept, {"json": {"n": 3, "seed": 7}})
    check(images_in(answer, accept), wanted, accept)
    again = client.get(V + "sample", params={"n": 3, "seed": 7}, headers={"Accept": accept})
    if accept == "application/json":
        assert again.json()["seed"] == answer.json()["seed"] == 7
    else:
        assert again.content == answer.content


def test_sample_draws_a_seed_and_tells_it(client: httpx.Client) -> None:
    one = client.post(V + "sample").json()
    two = client.post(V + "sample").json()
    assert one["seed"] != two["seed"]
    same = client.post(V + "sample", json={"seed": one["seed"]}).json()
    assert same["images"] == one["images"]


@pytest.mark.parametrize("truncation", [0.5, 1e-9])
def test_truncation_pulls_towards_the_mean(client: httpx.Client, truncation: float) -> None:
    sent = {"json": {"n": 2, "seed": 7, "truncation": truncation}}
    made = un_npy(post(client, "sample", "application/x-npy", sent).content)
    codes = latent_space.sample(7, 2, 48, "normal", truncation=truncation)
    np.testing.assert_array_equal(made, oracle_decode(codes))


@pytest.mark.parametrize(("how", "accept"), list(itertools.product(WAYS, FIGURES + PICTURES)))
def test_vary(client: httpx.Client, how: str, accept: str) -> None:
    codes = latent_space.vary(CODES[0], 3, 0.5, 9, "normal")
    sent = send(IMAGES[:1], how, n=3, strength=0.5, seed=9)
    made = images_in(post(client, "vary", accept, sent), accept)
    check(made, oracle_decode(codes), accept)


def check(made: Array, wanted: Array, accept: str) -> None:
    """Equal to one grey level; a grid has black cells at its end, a GIF 256 colours."""
    assert np.abs(made[: len(wanted)].astype(int) - wanted).max() <= (
        16 if accept == "image/gif" else 1
    )
    assert (made[len(wanted) :] <= (16 if accept == "image/gif" else 0)).all()


def test_one_channel_models_take_arrays_without_a_channel_axis(client: httpx.Client) -> None:
    grey = RNG.integers(0, 256, (2, 8, 8), dtype=np.uint8)
    answers = [
        client.post(
            "/v1/models/grey/encode",
            content=npy(array),
            headers={"Content-Type": "application/x-npy", "Accept": "application/x-npy"},
        )
        for array in (grey, grey[..., np.newaxis])
    ]
    assert answers[0].content == answers[1].content
    wanted = oracle_encode(grey[..., np.newaxis])
    np.testing.assert_allclose(un_npy(answers[0].content), wanted, atol=1e-5)


def test_any_image_is_brought_to_the_models_size(client: httpx.Client) -> None:
    large = Image.fromarray(IMAGES[0]).resize((50, 20)).convert("CMYK")
    buffer = io.BytesIO()
    large.save(buffer, "JPEG")
    answer = client.post(V + "encode", content=buffer.getvalue())  # no Content-Type: by its bytes
    assert answer.status_code == 200
    assert np.shape(answer.json()["latents"]) == (1, 48)


@pytest.mark.parametrize(
    "content_type",
    [
        "image/jpeg",
        "image/svg+xml",
        "application/octet-stream",
        "application/x-foo",
        "application/x-www-form-urlencoded",
    ],
)
def test_the_bytes_decide_what_an_image_is(client: httpx.Client, content_type: str) -> None:
    sent = {"content": png(IMAGES[0]), "headers": {"Content-Type": content_type}}
    latents = post(client, "encode", "application/x-npy", sent).content
    np.testing.assert_allclose(un_npy(latents), CODES[:1], atol=1e-5)


def test_many_images_in_one_request_keep_their_order(client: httpx.Client) -> None:
    many = RNG.integers(0, 256, (300, 8, 8, 3), dtype=np.uint8)
    for how in ("form", "json", "npy"):
        made = post(client, "encode", "application/x-npy", send(many, how)).content
        np.testing.assert_allclose(un_npy(made), oracle_encode(many), atol=1e-5)


def test_json_numbers_are_those_of_the_arrays(client: httpx.Client) -> None:
    document = post(client, "encode", "application/json", send(IMAGES, "npy")).content
    array = un_npy(post(client, "encode", "application/x-npy", send(IMAGES, "npy")).content)
    np.testing.assert_array_equal(np.array(json.loads(document)["latents"], np.float32), array)
