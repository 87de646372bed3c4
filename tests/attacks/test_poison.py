"""Rows on which onnxruntime itself fails: their request is told which, and nobody else suffers."""

import base64
import contextlib
import io
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from oracle import Images, oracle_decode, oracle_encode, oracle_reconstruct, oracle_score
from poison import poisoned, poisoned_latents

RNG = np.random.default_rng(5)


def images(count: int) -> Images:
    """Images without poison."""
    return poisoned(RNG.integers(0, 256, (count, 8, 8, 3), np.uint8))


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def form(array: Images) -> list[tuple[str, tuple[str, bytes]]]:
    files = []
    for i, one in enumerate(array):
        buffer = io.BytesIO()
        Image.fromarray(one).save(buffer, "png")
        files.append(("images", (f"{i}.png", buffer.getvalue())))
    return files


def sent_as(way: str, target: Any, verb: str, given: Any) -> httpx.Response:
    if way == "multipart":
        return httpx.post(target.url(verb), files=form(given), timeout=30)
    answer: httpx.Response = target.post(verb, npy(given))
    return answer


def check_right(answer: httpx.Response, given: Images) -> None:
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["latents"], oracle_encode(given), atol=1e-5)


def check_named(answer: httpx.Response, row: int) -> None:
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert [error["index"] for error in problem["errors"]] == [row]
    assert f"item {row} " in problem["detail"]
    assert "Gather" not in answer.text  # onnxruntime's words are for the log


@contextlib.contextmanager
def ready_throughout(target: Any) -> Iterator[None]:
    before = target.batcher.restarts
    yield
    assert target.get("/readyz").status_code == 200
    assert target.batcher.restarts == before


@pytest.mark.parametrize("way", ["npy", "multipart"])
@pytest.mark.parametrize(("count", "row"), [(1, 0), (64, 37)])
def test_one_guilty_request_in_a_full_batch(
    gate: Any, serve: Any, until: Callable[..., None], way: str, count: int, row: int
) -> None:
    mates = [images(n) for n in (1, 3, 1, 30, 2, 1)]
    guilty = poisoned(images(count), row)
    with serve(threads=1) as target, ThreadPoolExecutor(16) as pool, ready_throughout(target):
        check_right(target.post("encode", npy(mates[0])), mates[0])  # before
        gate.shut()
        first = pool.submit(target.post, "encode", npy(mates[0]))
        gate.wait()
        waiting = 0
        futures: list[Future[httpx.Response]] = []
        for place, given in enumerate([*mates[:3], guilty, *mates[3:]]):
            own_way = way if place == 3 else ("npy", "multipart")[place % 2]
            futures.append(pool.submit(sent_as, own_way, target, "encode", given))
            waiting += len(given)
            until(lambda waiting=waiting: target.batcher.queued == waiting)
        gate.open()
        check_right(first.result(), mates[0])
        answers = [future.result() for future in futures]
        check_named(answers.pop(3), row)
        for answer, given in zip(answers, mates, strict=True):
            check_right(answer, given)
        check_right(target.post("encode", npy(mates[3])), mates[3])  # after


def test_poison_of_every_verb_among_good_requests_of_many_clients(serve: Any) -> None:
    def ask(number: int) -> None:
        rng = random.Random(number)
        count = rng.choice([1, 1, 2, 7, 64])
        good = poisoned(np.random.default_rng(number).integers(0, 256, (count, 8, 8, 3), np.uint8))
        verb = rng.choice(["encode", "decode", "reconstruct", "score"])
        row = rng.randrange(count) if rng.random() < 0.3 else None
        codes = oracle_encode(good)
        if row is None:
            given: Any = codes if verb == "decode" else good
        else:
            given = poisoned_latents(codes, row) if verb == "decode" else poisoned(good, row)
        way = "npy" if verb == "decode" else rng.choice(["npy", "multipart"])
        answer = sent_as(way, target, verb, given)
        if row is not None:
            check_named(answer, row)
            return
        assert answer.status_code == 200, answer.text
        document = answer.json()
        if verb == "score":
            found = [list(one["terms"].values()) for one in document["results"]]
            np.testing.assert_allclose(found, oracle_score(good).terms, atol=1e-5)
        elif verb == "encode":
            np.testing.assert_allclose(document["latents"], codes, atol=1e-5)
        else:
            wanted = oracle_decode(codes) if verb == "decode" else oracle_reconstruct(good)
            np.testing.assert_array_equal([pixels(uri) for uri in document["images"]], wanted)

    with serve(threads=2) as target, ready_throughout(target), ThreadPoolExecutor(16) as pool:
        for asked in [pool.submit(ask, number) for number in range(80)]:
            asked.result()


def pixels(uri: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
