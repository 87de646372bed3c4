"""Prefer: partial, and the names that callers give their items."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from files import png
from lines import make_line
from oracle import oracle_decode, oracle_encode, oracle_reconstruct, oracle_score
from poison import make_poisonous, poisoned, poisoned_latents

V = "/v1/models/poison/"
PREFER = {"Prefer": "partial"}
IMAGES = poisoned(np.random.default_rng(8).integers(0, 256, (5, 8, 8, 3), np.uint8), 3)
GOOD = [0, 2, 4]  # 1 is no image, 3 breaks the engine


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, serve: Any) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("partial")
    make_poisonous(folder)
    make_line(folder)
    with serve(models=folder, default=None) as running:
        yield running.client


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def uri(image: Any) -> str:
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def pixels(uri: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


MIXED = [uri(IMAGES[0]), "!!", *(uri(image) for image in IMAGES[2:])]


def ask(client: httpx.Client, verb: str, items: list[Any], **given: Any) -> dict[str, Any]:
    answer = client.post(V + verb, json={"images": items, **given}, headers=PREFER)
    assert answer.status_code == 200, answer.text
    assert answer.headers["preference-applied"] == "partial"
    assert answer.headers["vary"] == "Accept, Prefer"
    document: dict[str, Any] = answer.json()
    return document


def check_problems(items: list[Any]) -> None:
    """Number 1 is no image, number 3 cannot be computed; each says so in its place."""
    assert [i for i, item in enumerate(items) if isinstance(item, dict) and "status" in item] == [
        1,
        3,
    ]
    assert (items[1]["status"], "base64" in items[1]["detail"]) == (422, True)
    assert (items[3]["status"], items[3]["detail"]) == (500, "the engine fails on it")


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_encode_gives_the_rest(client: httpx.Client, encoding_format: str) -> None:
    document = ask(client, "encode", MIXED, encoding_format=encoding_format)
    latents = document["latents"]
    check_problems(latents)
    if encoding_format == "base64":
        latents = [
            np.frombuffer(base64.b64decode(one), "<f4") if isinstance(one, str) else one
            for one in latents
        ]
    for i in GOOD:
        np.testing.assert_allclose(latents[i], oracle_encode(IMAGES)[i], atol=1e-5)
    assert document["usage"]["images"] == 5


def test_reconstruct_gives_the_rest(client: httpx.Client) -> None:
    document = ask(client, "reconstruct", MIXED)
    check_problems(document["images"])
    l1 = oracle_score(IMAGES).terms[:, 0]
    for i in GOOD:
        np.testing.assert_array_equal(pixels(document["images"][i]), oracle_reconstruct(IMAGES)[i])
        assert document["l1"][i] == pytest.approx(l1[i], abs=1e-6)
    for key in ("latents", "l1"):
        assert [i for i, one in enumerate(document[key]) if one is None] == [1, 3]
    refined = ask(client, "reconstruct", MIXED, refine=2)
    check_problems(refined["images"])
    assert [one is None for one in refined["steps"]] == [False, True, False, True, False]


def test_score_gives_the_rest(client: httpx.Client) -> None:
    document = ask(client, "score", MIXED, by="l2", heatmap="overlay")
    check_problems(document["results"])
    for i in GOOD:
        wanted = oracle_score(IMAGES).terms[i, 1]
        assert document["results"][i]["score"] == pytest.approx(wanted, abs=1e-6)


def test_decode_gives_the_rest(client: httpx.Client) -> None:
    codes = poisoned_latents(oracle_encode(IMAGES), 3)
    rows = codes.tolist()
    rows[1] = [1, 2]
    answer = client.post(V + "decode", json={"latents": rows}, headers=PREFER)
    images = answer.json()["images"]
    assert (images[1]["status"], "must have 48 numbers" in images[1]["detail"]) == (422, True)
    assert images[3]["status"] == 500
    for i in GOOD:
        np.testing.assert_array_equal(pixels(images[i]), oracle_decode(codes)[i])
    codes[1, 0] = np.nan
    answer = client.post(
        V + "decode",
        content=npy(codes),
        headers={**PREFER, "Content-Type": "application/x-npy"},
    )
    assert "not finite" in answer.json()["images"][1]["detail"]


def test_what_a_morph_goes_through_is_no_item_of_its_answer(client: httpx.Client) -> None:
    answer = client.post(V + "interpolate", json={"images": MIXED[:3]}, headers=PREFER)
    assert answer.status_code == 422
    assert [error["index"] for error in answer.json()["errors"]] == [1]
    given = {"images": [MIXED[0], MIXED[2]], "frames": 3}
    answer = client.post(V + "interpolate", json=given, headers=PREFER)
    assert (answer.status_code, len(answer.json()["images"])) == (200, 3)


def test_all_may_fail(client: httpx.Client) -> None:
    document = ask(client, "encode", ["!!", uri(IMAGES[3])])
    assert [one["status"] for one in document["latents"]] == [422, 500]
    document = ask(client, "encode", ["!!"])
    assert [one["status"] for one in document["latents"]] == [422]


def test_otherwise_nothing_is_computed(client: httpx.Client) -> None:
    for headers in ({}, {"Prefer": "return=minimal"}, {"Prefer": ""}):
        answer = client.post(V + "encode", json={"images": MIXED[:3]}, headers=headers)
        assert answer.status_code == 422
        assert [error["index"] for error in answer.json()["errors"]] == [1]
        assert "preference-applied" not in answer.headers


@pytest.mark.parametrize("accept", ["application/x-npy", "image/png", "application/zip"])
def test_formats_without_a_place_for_problems_stay_whole(client: httpx.Client, accept: str) -> None:
    headers = {**PREFER, "Accept": accept}
    answer = client.post(V + "reconstruct", json={"images": MIXED[:3]}, headers=headers)
    assert answer.status_code == 422
    answer = client.post(V + "reconstruct", json={"images": MIXED[:1]}, headers=headers)
    assert (answer.status_code, "preference-applied" in answer.headers) == (200, False)


@pytest.mark.parametrize("prefer", ["Partial", "wait=10, partial", "partial; strict, wait=1"])
def test_the_preference_may_stand_among_others(client: httpx.Client, prefer: str) -> None:
    answer = client.post(V + "encode", json={"images": ["!!"]}, headers={"Prefer": prefer})
    assert answer.status_code == 200


def test_what_is_malformed_is_refused_nevertheless(client: httpx.Client) -> None:
    answer = client.post(
        V + "encode", content=b"{", headers={**PREFER, "Content-Type": "application/json"}
    )
    assert answer.status_code == 400


def test_vectors_fail_alone_too(client: httpx.Client) -> None:
    answer = client.post(
        "/v1/models/line/reconstruct",
        json={"vectors": [[1, 2], {"id": "short", "vector": [1]}, [3, 4]]},
        headers=PREFER,
    )
    document = answer.json()
    assert document["vectors"][0] == [1, 2]
    assert document["vectors"][1]["id"] == "short"
    assert document["vectors"][2] == [3, 4]
    assert document["ids"] == [None, "short", None]


def test_ids_come_back(client: httpx.Client) -> None:
    items = [
        {"id": "a/ü", "image": MIXED[0]},
        MIXED[2],
        {"image": MIXED[4]},
        {"id": "a/ü", "image": "!"},
    ]
    document = ask(client, "encode", items)
    assert document["ids"] == ["a/ü", None, None, "a/ü"]
    assert document["latents"][3]["id"] == "a/ü"
    results = ask(client, "score", items)["results"]
    assert [one.get("id") for one in results] == ["a/ü", None, None, "a/ü"]
    codes = oracle_encode(IMAGES[:1]).tolist()
    answer = client.post(V + "decode", json={"latents": [{"id": "z", "latent": codes[0]}]})
    assert answer.json()["ids"] == ["z"]
    plain = client.post(V + "encode", json={"images": MIXED[:1]}).json()
    assert "ids" not in plain


def test_the_names_of_uploaded_files_are_ids(client: httpx.Client) -> None:
    files = [("images", (name, png(IMAGES[0]))) for name in ("a.png", "b c.png")]
    assert client.post(V + "encode", files=files).json()["ids"] == ["a.png", "b c.png"]
    results = client.post(V + "score", files=files).json()["results"]
    assert [one["id"] for one in results] == ["a.png", "b c.png"]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"id": 3, "image": MIXED[0]}, "`images`[1]: id must be text"),
        ({"id": "x" * 257, "image": MIXED[0]}, "at most 256"),
        ({"id": "a", "img": MIXED[0]}, "known: id, image"),
    ],
)
def test_what_is_no_id_is_told(client: httpx.Client, item: Any, words: str) -> None:
    for headers in ({}, PREFER):
        answer = client.post(V + "encode", json={"images": [MIXED[0], item]}, headers=headers)
        assert (answer.status_code, words in answer.json()["detail"]) == (400, True), answer.text


def test_an_object_without_an_image_is_a_bad_item(client: httpx.Client) -> None:
    answer = client.post(V + "encode", json={"images": [{"id": "a"}]})
    assert (answer.status_code, "must be text" in answer.json()["detail"]) == (422, True)


def test_lines_have_ids_and_problems(client: httpx.Client) -> None:
    items = [{"id": str(i), "image": one} for i, one in enumerate(MIXED)]
    answer = client.post(
        V + "score",
        json={"images": items},
        headers={**PREFER, "Accept": "application/x-ndjson"},
    )
    assert answer.headers["preference-applied"] == "partial"
    *lines, last = [json.loads(line) for line in answer.text.splitlines()]
    assert [(line["index"], line["id"]) for line in lines] == [(i, str(i)) for i in range(5)]
    assert [line["problem"]["status"] if "problem" in line else 200 for line in lines] == [
        200, 422, 200, 500, 200,
    ]  # fmt: skip
    assert last["usage"]["images"] == 5
