"""score?tile=..: frames larger than the model, cut, scored, and put together again."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from lines import make_line
from oracle import TERMS, make_oracle, oracle_score
from poison import make_poisonous, poisoned

Images = npt.NDArray[np.uint8]
SIDE, STRIDE = 8, 6
FRAME = np.random.default_rng(3).integers(0, 256, (21, 30, 3), np.uint8)
TOPS, LEFTS = (0, 6, 12, 13), (0, 6, 12, 18, 22)  # the last ones flush with the border
SCORES = [i / 100 for i in range(99)]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, serve: Any) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("tiled")
    make_oracle(folder, calibration={"l1": SCORES})
    made = make_oracle(folder, name="tiled", calibration={"l1": SCORES})
    manifest = json.loads((made / "manifest.json").read_text())
    manifest["score"]["calibration"] |= {
        "tiles": {"tile": SIDE, "stride": STRIDE},
        "heat": {"images": 1, "quantiles": {"0.5": 0.1, "0.999": 0.4}},
    }
    (made / "manifest.json").write_text(json.dumps(manifest))
    make_poisonous(folder)
    make_line(folder)
    with serve(models=folder, default="tiled", max_images=200, max_pixels=50_000) as running:
        yield running.client


def png(image: Images) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze()).save(buffer, "PNG")
    return buffer.getvalue()


def uri(image: Images) -> str:
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def pixels(text: str) -> Images:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2]))))


def ask(client: httpx.Client, frames: list[Any], model: str = "tiled", **given: Any) -> Any:
    body = {"images": frames, "tile": SIDE, **given}
    answer = client.post(f"/v1/models/{model}/score", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(client: httpx.Client, frames: list[Any], **given: Any) -> tuple[int, str]:
    body = {"images": frames, **given}
    answer = client.post("/v1/models/tiled/score", json={k: v for k, v in body.items() if v})
    return answer.status_code, answer.json()["detail"]


def by_hand(frame: Images, tops: Any = TOPS, lefts: Any = LEFTS) -> tuple[Any, Any, Any]:
    """Terms [K, T] of the tiles, their places, and the mean of their heat, pixel by pixel."""
    places = [(y, x) for y in tops for x in lefts]
    tiles = np.stack([frame[y : y + SIDE, x : x + SIDE] for y, x in places])
    terms, heats = oracle_score(tiles)
    heat = np.zeros(frame.shape[:2])
    for row, column in np.ndindex(heat.shape):
        over = [
            part[row - y, column - x]
            for part, (y, x) in zip(heats, places, strict=True)
            if y <= row < y + SIDE and x <= column < x + SIDE
        ]
        heat[row, column] = np.mean(over) if over else 0
    return terms, places, heat


def test_a_frame_is_as_abnormal_as_its_worst_tile(client: httpx.Client) -> None:
    terms, places, heat = by_hand(FRAME)
    answer = ask(client, [uri(FRAME)], stride=STRIDE, heatmap="map", by="l2")
    (result,) = answer["results"]
    assert result["tiles"] == len(places) == 20
    assert list(result["terms"]) == list(TERMS)
    np.testing.assert_allclose(list(result["terms"].values()), terms.max(axis=0), rtol=1e-5)
    y, x = places[int(terms[:, 1].argmax())]
    worst = result["worst"]
    assert (worst["x"], worst["y"], worst["width"], worst["height"]) == (x, y, SIDE, SIDE)
    assert worst["score"] == result["score"] == result["terms"]["l2"]
    assert (answer["usage"]["images"], answer["usage"]["batch"]) == (1, 20)
    wanted = np.clip(heat / 0.4, 0, 1) * 255  # one normal pixel in a thousand is as hot
    assert np.abs(pixels(result["heatmap"]) - wanted).max() <= 0.51


def test_what_was_calibrated_is_judged_and_nothing_else(client: httpx.Client) -> None:
    score = by_hand(FRAME)[0][:, 0].max()
    answer = ask(client, [uri(FRAME)], by="l1")  # the stride is the calibration's
    p = (1 + sum(s >= score for s in SCORES)) / 100
    assert answer["results"][0]["p_value"] == pytest.approx(p)
    assert "note" not in answer
    other = ask(client, [uri(FRAME)], by="l1", stride=7)
    assert (other["results"][0]["p_value"], other["threshold"]) == (None, None)
    assert "stride=6" in other["note"]
    assert "stride=7" in other["note"]
    plain = client.post("/v1/models/tiled/score", json={"images": [uri(FRAME)], "by": "l1"})
    whole = plain.json()
    assert whole["results"][0]["p_value"] is None
    assert "whole images" in whole["note"]
    assert "tiles" not in whole["results"][0]
    cut = ask(client, [uri(FRAME)], "oracle", by="l1")
    assert cut["results"][0]["p_value"] is None
    assert cut["results"][0]["tiles"] == 12  # without a calibration of frames the stride is `tile`
    assert client.get("/v1/models/tiled/calibration").json()["tiles"] == {"tile": 8, "stride": 6}


def test_a_rectangle_may_end_before_the_borders(client: httpx.Client) -> None:
    height, width = FRAME.shape[:2]
    named = f"4,2,{width - 4 - 8},{height - 2 - 1}"
    found = [
        ask(client, [uri(FRAME)], stride=STRIDE, roi=roi, heatmap="map")["results"]
        for roi in ("4,2,-8,-1", named)
    ]
    assert found[0] == found[1]
    small = np.ascontiguousarray(FRAME[:12, :10])  # another size, another rectangle
    inside = ask(client, [uri(small)], stride=STRIDE, roi="1,1,-1,-2")["results"]
    assert inside == ask(client, [uri(small)], stride=STRIDE, roi="1,1,8,9")["results"]


def test_a_rectangle_is_scored_as_if_it_were_the_frame(client: httpx.Client) -> None:
    inside = ask(client, [uri(FRAME)], stride=STRIDE, roi="4,2,18,17", heatmap="map")["results"][0]
    cut = ask(client, [uri(FRAME[2:19, 4:22])], stride=STRIDE, heatmap="map")["results"][0]
    assert inside["terms"] == cut["terms"]
    assert (inside["worst"]["x"], inside["worst"]["y"]) == (
        cut["worst"]["x"] + 4,
        cut["worst"]["y"] + 2,
    )
    heat = pixels(inside["heatmap"]).copy()
    np.testing.assert_array_equal(heat[2:19, 4:22], pixels(cut["heatmap"]))
    heat[2:19, 4:22] = 0
    assert not heat.any()


def test_of_a_mask_the_tiles_that_it_touches(client: httpx.Client) -> None:
    mask = np.zeros((21, 30), np.uint8)
    mask[0:21, 0] = 255  # the left column: tiles of x = 0
    mask[0, 25] = 200  # and of the top right one
    mask[:, 29] = 127  # not light enough
    given = {"images": ("f.png", png(FRAME)), "roi": ("mask.png", png(mask))}
    query = f"tile={SIDE}&stride={SIDE}&heatmap=map"
    answer = client.post(f"/v1/models/tiled/score?{query}", files=given)
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    terms = oracle_score(
        np.stack([FRAME[y : y + 8, x : x + 8] for y, x in ((0, 0), (8, 0), (13, 0), (0, 18))])
    ).terms
    # the box of the mask is 26 wide: its last tile is flush with that
    np.testing.assert_allclose(list(result["terms"].values()), terms.max(axis=0), rtol=1e-5)
    assert result["tiles"] == 4
    assert not pixels(result["heatmap"])[mask < 128].any()
    same = ask(client, [uri(FRAME)], stride=SIDE, roi=uri(mask))["results"][0]
    assert same["terms"] == result["terms"]


def test_a_frame_smaller_than_a_tile_goes_on_as_its_mirror_image(client: httpx.Client) -> None:
    small = FRAME[:13, :5]
    mirrored = np.concatenate([small, small[:, :-4:-1]], axis=1)
    result = ask(client, [uri(small)], stride=STRIDE, heatmap="map")["results"][0]
    terms, _, heat = by_hand(mirrored, (0, 5), (0,))
    np.testing.assert_allclose(list(result["terms"].values()), terms.max(axis=0), rtol=1e-5)
    assert (result["worst"]["x"], result["worst"]["width"]) == (0, 5)
    wanted = np.clip(heat[:, :5] / 0.4, 0, 1) * 255
    assert np.abs(pixels(result["heatmap"]) - wanted).max() <= 0.51


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        ({"tile": 9}, 422, "8x8"),
        ({"tile": 8, "stride": 9}, 422, "stride must be at most tile, 8"),
        ({"stride": 4}, 422, "wants tile"),
        ({"roi": "0,0,8,8"}, 422, "wants tile"),
        ({"tile": 8, "roi": "20,0,11,8"}, 422, "beyond"),
        ({"tile": 8, "roi": "0,0,0,8"}, 422, "pixels"),
        ({"tile": 8, "roi": "0,0,8"}, 422, "x,y,width,height"),
        ({"tile": 8, "roi": "-1,0,8,8"}, 422, "x,y,width,height"),
        ({"tile": 8, "roi": "9,0,-21,8"}, 422, "leaves none"),
        ({"tile": 8, "roi": uri(np.zeros((21, 30), np.uint8))}, 422, "light"),
        ({"tile": 8, "roi": uri(np.full((20, 30), 255, np.uint8))}, 422, "30x20"),
        ({"tile": 8, "stride": 1}, 413, "at most 200 tiles"),
        ({"tile": "8x8"}, 400, "tile"),
    ],
)
def test_what_cannot_be_cut_so(client: httpx.Client, given: Any, status: int, said: str) -> None:
    found = refusal(client, [uri(FRAME)], **given)
    assert found[0] == status, found
    assert said in found[1]


def test_limits_are_those_of_a_request(client: httpx.Client) -> None:
    big = np.zeros((200, 251, 3), np.uint8)
    status, said = refusal(client, [uri(big)], tile=8, roi="0,0,8,8")
    assert (status, "50,000" in said) == (413, True)  # as any image
    half = np.zeros((100, 251, 3), np.uint8)
    status, said = refusal(client, [uri(half)] * 2, tile=8, roi="0,0,8,8")
    assert (status, "50,000 pixels" in said) == (413, True)  # together
    ask(client, [uri(half)], roi="0,0,8,8")
    vectors = client.post("/v1/models/line/score?tile=8", json={"vectors": [[1.0, 2.0]]})
    assert (vectors.status_code, "vectors" in vectors.json()["detail"]) == (422, True)


def test_a_key_pays_for_tiles(serve: Any) -> None:
    with serve(api_keys=("secret",), rate_limit=0.5) as running:
        headers = {"Content-Type": "image/png", "Authorization": "Bearer secret"}
        path = "/v1/models/oracle/score?tile=8&stride=6"
        first = running.client.post(path, content=png(FRAME), headers=headers)
        assert first.status_code == 200, first.text
        again = running.client.post(path, content=png(FRAME[:8, :8]), headers=headers)
        assert again.status_code == 429, again.text
        assert int(again.headers["Retry-After"]) > 10  # seconds that 20 images take, nearly


def test_lines_arrays_and_pictures_say_the_same(client: httpx.Client) -> None:
    frames = np.stack([FRAME, FRAME[::-1], FRAME[:, ::-1]])
    plain = ask(client, [uri(frame) for frame in frames], heatmap="overlay")
    query = "/v1/models/tiled/score?tile=8&heatmap=overlay"
    lines = client.post(
        query,
        json={"images": [uri(frame) for frame in frames]},
        headers={"Accept": "application/x-ndjson"},
    )
    said = [json.loads(line) for line in lines.text.splitlines()]
    assert [{k: v for k, v in line.items() if k != "index"} for line in said[:3]] == plain[
        "results"
    ]
    assert said[3]["usage"]["images"] == 3
    buffer = io.BytesIO()
    np.save(buffer, frames)
    headers = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
    scores = np.load(
        io.BytesIO(client.post(query, content=buffer.getvalue(), headers=headers).content)
    )
    np.testing.assert_array_equal(
        scores, np.array([r["score"] for r in plain["results"]], np.float32)
    )
    headers = {"Content-Type": "image/png", "Accept": "image/png"}
    shown = client.post(query, content=png(FRAME), headers=headers).content
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(shown))), pixels(plain["results"][0]["heatmap"])
    )


def test_a_bad_frame_fails_alone_in_a_region_too(client: httpx.Client) -> None:
    answer = client.post(
        "/v1/models/tiled/score?tile=8&heatmap=map&roi=3,2,20,19",
        json={"images": ["!!", uri(FRAME), uri(FRAME[:10])]},
        headers={"Prefer": "partial"},
    )
    assert answer.status_code == 200, answer.text
    bad, good, low = answer.json()["results"]
    assert (bad["status"], low["status"]) == (422, 422)
    assert "beyond" in low["detail"]
    assert good["tiles"] == 9
    nothing = client.post("/v1/models/tiled/score?tile=8&roi=", content=png(FRAME))
    assert nothing.status_code == 422


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
def test_a_bad_frame_fails_alone(client: httpx.Client, accept: str) -> None:
    tiles = poisoned(np.random.default_rng(8).integers(0, 256, (6, 8, 8, 3), np.uint8), 4)
    frames = [np.concatenate(list(tiles[i : i + 2]), axis=1) for i in (0, 2, 4)]
    answer = client.post(
        "/v1/models/poison/score?tile=8",
        json={"images": [uri(frames[0]), "!!", uri(frames[1]), uri(frames[2])]},
        headers={"Prefer": "partial", "Accept": accept},
    )
    assert answer.status_code == 200, answer.text
    if accept == "application/json":
        results = answer.json()["results"]
    else:
        lines = [json.loads(line) for line in answer.text.splitlines()[:4]]
        results = [line.get("problem", line) for line in lines]
    assert [result.get("tiles") for result in results] == [2, None, 2, None]
    assert "engine" in results[3]["detail"]
    for i, result in ((0, results[0]), (1, results[2])):
        wanted = oracle_score(tiles[2 * i : 2 * i + 2]).terms.max(axis=0)
        np.testing.assert_allclose(list(result["terms"].values()), wanted, rtol=1e-5)
