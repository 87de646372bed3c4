"""The model that ships answers under load as it does alone."""

import base64
import io
import random
import threading
import time
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx
import numpy as np
from PIL import Image, ImageSequence

from files import png
from serving.settings import BUNDLES

SECONDS = 4.0
CLIENTS = 16
SIZES = (1, 1, 2, 3, 5, 8, 13, 21, 40)
NPY, JSON, PNG = "application/x-npy", "application/json", "image/png"


class Request(NamedTuple):
    path: str
    accept: str
    given: Mapping[str, Any]  # what httpx sends


def npy(array: Any) -> dict[str, Any]:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return {"content": buffer.getvalue(), "headers": {"Content-Type": NPY}}


def form(images: Any) -> dict[str, Any]:
    return {"files": [("images", (f"{i}.png", png(one[..., 0]))) for i, one in enumerate(images)]}


def uris(images: Any) -> dict[str, Any]:
    texts = [base64.b64encode(png(one[..., 0])).decode() for one in images]
    return {"json": {"images": [f"data:image/png;base64,{text}" for text in texts]}}


def requests() -> list[Request]:
    """Every verb in several sizes, each with another form of input and of answer."""
    rng = np.random.default_rng(9)
    made = []
    for place, size in enumerate(SIZES):
        images = rng.integers(0, 256, (size, 32, 32, 1), np.uint8)
        latents = rng.standard_normal((size, 64), np.float32)
        way = (npy, form, uris)[place % 3]
        first, second = ((JSON, NPY), (NPY, JSON))[place % 2]
        made += [
            Request("encode", first, way(images)),
            Request("encode?encoding_format=base64", JSON, way(images)),
            Request("decode", second, npy(latents)),
            Request("decode", PNG, {"json": {"latents": latents.tolist()}}),
            Request("reconstruct", (JSON, PNG, "application/zip")[place % 3], way(images)),
            Request("score?heatmap=map", JSON, way(images)),
            Request(f"sample?n={size}&seed={place}", second, {}),
            Request(f"vary?n={size}&seed={place}&strength=0.5", first, way(images[:1])),
            Request(f"interpolate?frames={2 + place}", "image/gif", way(images[: size or 2])),
        ]
    return [r for r in made if "interpolate" not in r.path or 2 <= count(r) <= 16]


def count(request: Request) -> int:
    """How many images it sends as files, or in an array or list."""
    if "files" in request.given:
        return len(request.given["files"])
    if "json" in request.given:
        return len(request.given["json"]["images"])
    return len(np.load(io.BytesIO(request.given["content"])))


def ask(client: httpx.Client, request: Request) -> httpx.Response:
    given = dict(request.given)
    headers = {**given.pop("headers", {}), "Accept": request.accept}
    return client.post(f"/v1/models/fashion/{request.path}", headers=headers, **given)


def content(answer: httpx.Response) -> dict[str, Any]:
    """What is in an answer, as arrays of numbers by what they are; times are left out."""
    assert answer.status_code == 200, answer.text
    kind = answer.headers["content-type"]
    if kind == NPY:
        return {"array": np.load(io.BytesIO(answer.content)).astype(np.float64)}
    if kind != JSON:
        if kind == "application/zip":
            with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
                files = [Image.open(io.BytesIO(archive.read(n))) for n in archive.namelist()]
            return {"pixels": np.array([np.asarray(one, np.float64) for one in files])}
        frames = ImageSequence.Iterator(Image.open(io.BytesIO(answer.content)))
        return {"pixels": np.array([np.asarray(one.convert("L"), np.float64) for one in frames])}
    document = answer.json()
    document.pop("usage")
    if "images" in document:
        document["pixels"] = np.array([pixels(uri) for uri in document.pop("images")])
    for result in document.get("results", ()):
        if "heatmap" in result:
            result["heatmap"] = pixels(result["heatmap"]).tolist()
    if isinstance(document.get("latents", [None])[0], str):
        data = [np.frombuffer(base64.b64decode(text), "<f4") for text in document["latents"]]
        document["latents"] = np.array(data).tolist()
    return dict(document)


def pixels(uri: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))), np.float64)


def check_same(found: Any, wanted: Any, where: str) -> None:
    if isinstance(wanted, Mapping):
        assert found.keys() == wanted.keys(), where
        for key in wanted:
            check_same(found[key], wanted[key], f"{where}.{key}")
    elif isinstance(wanted, list) and wanted and isinstance(wanted[0], Mapping):
        assert len(found) == len(wanted), where
        for i, (one, other) in enumerate(zip(found, wanted, strict=True)):
            check_same(one, other, f"{where}[{i}]")
    elif isinstance(wanted, str | int | bool | None) or where.endswith(".ids"):
        assert found == wanted, where  # seeds among them
    else:
        levels = any(word in where for word in ("pixels", "heatmap"))
        levels = levels or (where.endswith("array") and np.max(wanted) > 50)
        difference = np.abs(np.asarray(found, np.float64) - np.asarray(wanted, np.float64)).max()
        assert difference <= (1 if levels else 1e-5), f"{where}: {difference}"


def test_every_answer_under_load_is_the_one_given_alone(serve: Any) -> None:
    asked = requests()
    batches: list[int] = []
    faults: list[BaseException] = []
    counts = [0] * CLIENTS

    def client(number: int) -> None:
        rng = random.Random(number)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{target.port}", timeout=60) as session:
                while time.monotonic() < end and not faults:
                    place = rng.randrange(len(asked))
                    answer = ask(session, asked[place])
                    check_same(content(answer), alone[place], asked[place].path)
                    counts[number] += 1
                    if answer.headers["content-type"] == JSON:
                        batches.append(answer.json()["usage"]["batch"] - largest[place])
        except BaseException as fault:
            faults.append(fault)

    with serve(models=BUNDLES) as target:
        with httpx.Client(base_url=f"http://127.0.0.1:{target.port}", timeout=60) as session:
            answers = [ask(session, request) for request in asked]
        alone = [content(answer) for answer in answers]
        largest = [
            answer.json()["usage"]["batch"] if answer.headers["content-type"] == JSON else 0
            for answer in answers
        ]
        end = time.monotonic() + SECONDS
        threads = [threading.Thread(target=client, args=(i,)) for i in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
            assert not thread.is_alive()
    if faults:
        raise faults[0]
    assert min(counts) >= 1
    assert max(batches) > 0  # some had company
