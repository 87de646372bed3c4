"""A conditional model over HTTP: labels by name and number, one for all or one of each item."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any, Final

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from http_api.conftest import Served, served
from oracle import make_oracle, oracle_decode, oracle_encode, oracle_shift
from serving import latents, rendering
from serving.settings import Settings

CLASSES: Final = ("cat", "0", "dog")  # a name that is another's number goes first
PATH: Final = "/v1/models/told"
NPY: Final = {"Accept": "application/x-npy", "Content-Type": "application/x-npy"}
IMAGES: Final = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
CODES: Final = np.random.default_rng(1).uniform(-1.5, 1, (5, 48)).astype(np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("told")
    make_oracle(folder, name="told", classes=CLASSES, calibration={"l1": [0.0] * 99})
    make_oracle(folder)
    with served(Settings(models=folder, default="told", threads=1)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Served) -> httpx.Client:
    return server.client


def array(answer: httpx.Response) -> npt.NDArray[Any]:
    assert answer.status_code == 200, answer.text
    found: npt.NDArray[Any] = np.load(BytesIO(answer.content))
    return found


def post(client: httpx.Client, verb: str, rows: npt.NDArray[Any], **query: Any) -> httpx.Response:
    sent: dict[str, Any] = {"content": rendering.npy(rows), "headers": NPY}
    return client.post(f"{PATH}/{verb}", params=query, **sent)


def told(codes: npt.NDArray[np.float32], labels: Any) -> npt.NDArray[np.uint8]:
    """G(z, y) by hand."""
    return oracle_decode(codes + oracle_shift(labels))


@pytest.mark.parametrize(
    ("label", "number"), [("cat", 0), ("0", 1), ("dog", 2), ("2", 2), (None, -1)]
)
def test_a_label_is_a_name_or_else_a_number(
    client: httpx.Client, label: str | None, number: int
) -> None:
    query = {} if label is None else {"label": label}
    numbers = [number] * 5
    found = array(post(client, "encode", IMAGES, **query))
    np.testing.assert_allclose(found, oracle_encode(IMAGES) - oracle_shift(numbers), atol=1e-5)
    assert np.array_equal(array(post(client, "decode", CODES, **query)), told(CODES, numbers))


def test_each_item_has_its_own_label(client: httpx.Client) -> None:
    labels = [0, "dog", "cat", 2, "0"]
    numbers = [0, 2, 0, 2, 1]
    body = {"latents": CODES.tolist(), "labels": labels}
    answer = client.post(f"{PATH}/decode", json=body, headers={"Accept": NPY["Accept"]})
    numbers[0] = 0  # 0 is no text, so it is no name
    assert np.array_equal(array(answer), told(CODES, numbers))
    # the query has commas between
    found = array(post(client, "decode", CODES, labels="cat,dog,cat,2,0"))
    assert np.array_equal(found, told(CODES, numbers))


def test_a_long_answer_in_lines_keeps_labels_beside_their_items(client: httpx.Client) -> None:
    numbers = np.arange(150) % 3
    codes = np.resize(CODES, (150, 48))
    body = {"latents": codes.tolist(), "labels": [int(n) for n in numbers]}
    answer = client.post(f"{PATH}/decode", json=body, headers={"Accept": "application/x-ndjson"})
    lines = [httpx.Response(200, text=line).json() for line in answer.text.splitlines()[:-1]]
    found = np.stack([_pixels(line["image"]) for line in lines])
    assert np.array_equal(found, told(codes, numbers))


def test_samples_depend_on_seed_number_and_label_alone(client: httpx.Client) -> None:
    codes = latents.sample(5, 6, 48, "normal")
    made = array(
        client.get(f"{PATH}/sample", params={"n": 6, "seed": 5, "label": "dog"}, headers=NPY)
    )
    assert np.array_equal(made, told(codes, [2] * 6))
    body = {"n": 6, "seed": 5, "labels": ["dog", "cat", "dog", "0", "0", "dog"]}
    mixed = array(client.post(f"{PATH}/sample", json=body, headers={"Accept": NPY["Accept"]}))
    assert np.array_equal(mixed, told(codes, [2, 0, 2, 1, 1, 2]))
    # whoever else is in the batch
    with ThreadPoolExecutor(8) as pool:
        queries = [{"n": 1, "seed": 5, "label": label} for label in ["cat", "dog", "0"] * 20]
        alone = pool.map(
            lambda q: array(client.get(f"{PATH}/sample", params=q, headers=NPY)), queries
        )
        for query, found in zip(queries, alone, strict=True):
            label = CLASSES.index(str(query["label"]))
            assert np.array_equal(found, told(codes[:1], [label]))


def test_morphs_variations_and_refinements_are_told_both_ways(client: httpx.Client) -> None:
    codes = oracle_encode(IMAGES[:2]) - oracle_shift([1, 1])
    frames = latents.path(codes, 4)
    found = array(post(client, "interpolate", IMAGES[:2], frames=4, label=1))
    difference = found.astype(int) - told(frames, [1] * 4)
    assert np.abs(difference).max() <= 1  # float32 here and there
    near = latents.vary(codes[0], 3, 0.5, 9, "normal")
    found = array(post(client, "vary", IMAGES[:1], n=3, strength=0.5, seed=9, label="0"))
    assert np.abs(found.astype(int) - told(near, [1] * 3)).max() <= 1
    back = post(client, "reconstruct", IMAGES, refine=2, label="dog")
    plain = post(client, "reconstruct", IMAGES, refine=2)
    assert np.abs(array(back).astype(int) - array(plain)).max() <= 1  # y goes in and out again


def test_scores_are_told_and_an_item_that_fails_keeps_its_place(client: httpx.Client) -> None:
    uris = [rendering.data_uri(rendering.png(image)) for image in IMAGES[:3]]
    body = {"images": [uris[0], "bm8gaW1hZ2U=", uris[2]], "labels": ["cat", "cat", "dog"]}
    answer = client.post(f"{PATH}/encode", json=body, headers={"Prefer": "partial"})
    assert answer.status_code == 200
    found = answer.json()["latents"]
    assert found[1]["status"] == 422
    wanted = oracle_encode(IMAGES[[0, 2]]) - oracle_shift([0, 2])
    np.testing.assert_allclose([found[0], found[2]], wanted, atol=1e-5)
    scored = client.post(f"{PATH}/score", json={"images": uris, "labels": [0, 1, 2]}).json()
    assert len(scored["results"]) == 3


def test_calibration_judges_scores_without_labels_alone(client: httpx.Client) -> None:
    def scored(rows: npt.NDArray[Any], **query: Any) -> dict[str, Any]:
        headers = {"Content-Type": "application/x-npy", "Accept": "application/json"}
        sent: dict[str, Any] = {"content": rendering.npy(rows), "headers": headers}
        found: dict[str, Any] = client.post(f"{PATH}/score", params=query, **sent).json()
        return found

    plain = scored(IMAGES)
    assert [one["p_value"] for one in plain["results"]] == [0.01] * 5
    assert "note" not in plain
    frames = IMAGES[:4].reshape(2, 16, 8, 3)
    told = [scored(IMAGES, label="cat"), scored(IMAGES, labels="cat,0,dog,2,1")]
    for found in (*told, scored(frames, tile=8, label="dog")):
        for one in found["results"]:
            assert (one["p_value"], one["anomalous"]) == (None, None)
        assert found["threshold"] is None
        assert "without labels" in found["note"]
        assert all(one["score"] > 0 for one in found["results"])


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({"label": "horse"}, 422, "no class 'horse'; there are cat, 0, dog"),
        ({"label": 3}, 422, "numbers from 0 to 2"),
        ({"label": -1}, 422, "no class '-1'"),
        ({"label": ""}, 422, "no class ''"),
        ({"labels": "cat"}, 422, "labels must be one for each item: 5, got 1"),
        ({"label": "cat", "labels": "cat,cat,cat,cat,cat"}, 400, "both given"),
    ],
)
def test_what_is_no_label(
    client: httpx.Client, query: dict[str, Any], status: int, words: str
) -> None:
    answer = post(client, "encode", IMAGES, **query)
    assert answer.status_code == status
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("label", [True, 1.5, ["cat"], {"a": 1}])
def test_a_label_of_another_type_is_refused(client: httpx.Client, label: object) -> None:
    answer = client.post(f"{PATH}/sample", json={"label": label})
    assert answer.status_code == 400
    assert "the name or the number of a class" in answer.json()["detail"]
    answer = client.post(f"{PATH}/sample", json={"labels": [label]})
    assert answer.status_code == 400


def test_more_labels_than_there_may_be_images_are_not_looked_at(client: httpx.Client) -> None:
    """One by one they would hold up the event loop: a body may have millions."""
    wanted: list[list[Any]] = [[[]] * 4097, ["cat"] * 4097]  # no labels at all, and good ones
    for labels in wanted:
        answer = client.post(f"{PATH}/sample", json={"labels": labels})
        assert answer.status_code == 413
        assert answer.json()["detail"] == "at most 4,096 labels in one request, got 4,097"
    assert client.get(f"{PATH}/sample", params={"labels": "," * 4096}).status_code == 413


def test_one_label_is_for_a_whole_morph(client: httpx.Client) -> None:
    answer = post(client, "interpolate", IMAGES[:2], labels="cat,dog")
    assert answer.status_code == 400
    assert "unknown parameter 'labels'" in answer.json()["detail"]


def test_a_model_without_classes_has_no_labels(client: httpx.Client) -> None:
    answer = client.get("/v1/models/oracle/sample", params={"label": "cat"})
    assert answer.status_code == 400
    assert answer.json()["detail"] == "oracle@1 is not conditional: it has no labels"
    answer = client.post("/v1/models/oracle/sample", json={"label": None})
    assert answer.status_code == 400


def test_what_is_said_of_the_model(client: httpx.Client) -> None:
    assert client.get(PATH).json()["classes"] == list(CLASSES)
    listed = {one["id"]: one for one in client.get("/v1/models").json()["data"]}
    assert "classes" not in listed["oracle"]
    document = client.get("/openapi.json").json()
    for verb in ("encode", "sample", "interpolate"):
        operation = document["paths"][f"/v1/models/{{model}}/{verb}"]["post"]
        known = {one["name"]: one for one in operation["parameters"] if one["in"] == "query"}
        assert known["label"]["schema"] == {"type": ["string", "integer"]}
        assert ("labels" in known) is (verb != "interpolate")


def test_openais_dialect(client: httpx.Client) -> None:
    asked = {"model": "told", "prompt": "a dog", "n": 2, "seed": 5, "label": "dog"}
    answer = client.post("/v1/images/generations", json=asked)
    assert answer.status_code == 200, answer.text
    made = [_pixels(one["b64_json"]) for one in answer.json()["data"]]
    assert np.array_equal(np.stack(made), told(latents.sample(5, 2, 48, "normal"), [2, 2]))
    asked = {"model": "told", "input": rendering.data_uri(rendering.png(IMAGES[0])), "label": 1}
    found = client.post("/v1/embeddings", json=asked).json()["data"][0]["embedding"]
    np.testing.assert_allclose([found], oracle_encode(IMAGES[:1]) - oracle_shift([1]), atol=1e-5)
    refused = client.post("/v1/embeddings", json={**asked, "label": "horse"})
    assert refused.status_code == 400  # as all that is wrong in this dialect
    assert refused.json()["error"]["param"] == "label"


def _inferred(client: httpx.Client, labels: list[int]) -> httpx.Response:
    inputs = [
        {
            "name": "latents",
            "datatype": "FP32",
            "shape": [2, 48],
            "data": CODES[:2].ravel().tolist(),
        },
        {"name": "labels", "datatype": "INT64", "shape": [2], "data": labels},
    ]
    return client.post("/v2/models/told.decode/infer", json={"inputs": inputs})


def test_the_open_inference_protocol_takes_them_as_a_tensor(client: httpx.Client) -> None:
    answer = _inferred(client, [2, -1])
    assert answer.status_code == 200, answer.text
    found = np.reshape(answer.json()["outputs"][0]["data"], (2, 8, 8, 3))
    assert np.array_equal(found, told(CODES[:2], [2, -1]))
    for wrong in ([3, 0], [0, -2]):
        refused = _inferred(client, wrong)
        assert refused.status_code == 422
        assert "from 0 to 2" in refused.json()["error"]


def test_with_a_seed_each_label_has_a_tag_of_its_own(client: httpx.Client) -> None:
    tags = {
        client.get(f"{PATH}/sample", params={"seed": 1, **label}).headers["etag"]
        for label in ({}, {"label": "cat"}, {"label": "dog"}, {"label": "2"})
    }
    assert len(tags) == 3
    each = [
        client.get(f"{PATH}/sample", params={"seed": 1, "n": 2, "labels": labels}, headers=NPY)
        for labels in ("cat,dog", "dog,cat")
    ]
    assert not np.array_equal(array(each[0]), array(each[1]))
    assert each[0].headers["etag"] != each[1].headers["etag"]


def _pixels(text: str) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(rendering.parse_data_uri(text))))


def test_the_tiles_of_a_frame_share_its_label(client: httpx.Client) -> None:
    frames = np.random.default_rng(5).integers(0, 256, (2, 16, 8, 3), np.uint8)  # two tiles each
    tiles = frames.reshape(4, 8, 8, 3)

    def terms(rows: npt.NDArray[Any], **query: Any) -> list[float]:
        headers = {"Content-Type": "application/x-npy", "Accept": "application/json"}
        sent: dict[str, Any] = {"content": rendering.npy(rows), "headers": headers}
        answer = client.post(f"{PATH}/score", params=query, **sent)
        assert answer.status_code == 200, answer.text
        return [one["terms"]["l1"] for one in answer.json()["results"]]

    # The oracle's scores are the same by any label: what is tested is that each tile has one.
    alone = terms(tiles, labels="cat,cat,dog,dog")
    worst = [max(alone[:2]), max(alone[2:])]
    assert terms(frames, tile=8, labels="cat,dog") == pytest.approx(worst, abs=1e-6)
    assert terms(frames, tile=8, label="dog") == pytest.approx(worst, abs=1e-6)
