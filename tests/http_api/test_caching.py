"""GET /v1/models/{model}/sample: an address for an image, and what caches may do with it."""

import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from oracle import oracle_decode
from serving import latents

V = "/v1/models/default/sample"
BROWSER = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"  # for an <img>


def test_an_address_is_an_image(client: httpx.Client) -> None:
    answer = client.get(V, params={"seed": 5}, headers={"Accept": BROWSER})
    assert answer.headers["content-type"].startswith("image/")
    with Image.open(io.BytesIO(answer.content)) as image:
        shown = np.asarray(image.convert("RGB"))
    wanted = oracle_decode(latents.sample(5, 1, 48, "normal"))[0]
    assert np.abs(shown.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize(
    "accept", ["image/png", "image/webp", "application/zip", "application/json"]
)
def test_what_is_known_is_not_sent_again(client: httpx.Client, accept: str) -> None:
    headers = {"Accept": accept}
    answer = client.get(V, params={"seed": 5, "n": 2}, headers=headers)
    tag = answer.headers["etag"]
    assert tag.startswith("W/") == (accept == "application/json")  # which tells how long it took
    assert answer.headers["vary"] == "Accept"
    for sent in (tag, f'"x", {tag}', "*", "W/" + tag.removeprefix("W/")):
        again = client.get(
            V, params={"n": 2, "seed": 5}, headers={**headers, "If-None-Match": sent}
        )
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["cache-control"] == answer.headers["cache-control"]
    fresh = client.get(V, params={"seed": 5, "n": 2}, headers={**headers, "If-None-Match": '"x"'})
    assert fresh.status_code == 200
    if accept != "application/json":
        assert fresh.content == answer.content


def test_the_tag_tells_apart_what_differs(client: httpx.Client) -> None:
    def tag(ref: str = "oracle", accept: str = "image/png", **parameters: Any) -> str:
        answer = client.get(
            f"/v1/models/{ref}/sample", params=parameters, headers={"Accept": accept}
        )
        return str(answer.headers["etag"])

    tags = [
        tag(seed=1),
        tag(seed=2),
        tag(seed=1, n=2),
        tag(seed=1, truncation=0.5),
        tag(seed=1, accept="image/webp"),
        tag("grey@1", seed=1),
        tag("grey@2", seed=1),
    ]
    assert len(set(tags)) == len(tags)
    assert tag("default", seed=1) == tag("oracle@1", seed=1, n=1) == tags[0]


def test_how_long_an_answer_holds(client: httpx.Client, serve: Any) -> None:
    def control(client: httpx.Client, ref: str, **parameters: Any) -> str:
        answer = client.get(f"/v1/models/{ref}/sample", params=parameters)
        assert ("etag" in answer.headers) == ("seed" in parameters)
        return str(answer.headers["cache-control"])

    assert control(client, "oracle") == "no-store"
    assert control(client, "oracle", seed=1) == "public, no-cache"  # another version may come
    assert control(client, "oracle@1", seed=1) == "public, max-age=31536000, immutable"
    with serve(api_keys=("key",)) as running:
        running.client.headers["X-API-Key"] = "key"
        assert control(running.client, "oracle", seed=1) == "private, no-cache"


def test_what_is_known_costs_nothing(client: httpx.Client) -> None:
    def rows() -> float:
        text = client.get("/metrics").text
        lines = [line for line in text.splitlines() if line.startswith("biject_batch_rows_sum")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    tag = client.get(V, params={"seed": 77}).headers["etag"]
    before = rows()
    client.get(V, params={"seed": 77}, headers={"If-None-Match": tag})
    assert rows() == before


@pytest.mark.parametrize(
    ("query", "status"), [("seed=x", 400), ("seed=-1", 422), ("n=0&seed=1", 422), ("m=1", 400)]
)
def test_wrong_addresses_are_refused_and_not_kept(
    client: httpx.Client, query: str, status: int
) -> None:
    answer = client.get(f"{V}?{query}", headers={"If-None-Match": "*"})
    assert answer.status_code == status
    assert "etag" not in answer.headers
