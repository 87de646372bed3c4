"""Every parser of what strangers send, on damaged real input: an answer or a refusal, in bounds."""

import base64
import gzip
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, seed
from hypothesis import strategies as st

from fuzz.damage import FULL, SHORT, Judge, damaged, fuzzing
from odd_files import FOLDER_SOUND, HTTP_SOUND, REFUSED
from oracle import make_oracle
from serving import images, rendering
from serving.bundle import Manifest, read
from serving.errors import BadRequest
from serving.routes import answers, bodies, codings, intake, parameter, parameters, tensors
from serving.routes.items import Wanted
from serving.verbs import VERBS

SPEC = images.ImageSpec(height=8, width=8, channels=3, fit="pad")
ALL = [*(one.data for one in (*HTTP_SOUND, *FOLDER_SOUND)), *(one.data for one in REFUSED)]
FILES = [data for data in ALL if len(data) < 20_000]
PNG = next(one.data for one in HTTP_SOUND if one.data[:4] == b"\x89PNG")
RUNS = [
    pytest.param(SHORT, id="short"),
    pytest.param(FULL, id="full", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
]
MOST = 64  # images in a request


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Of 8 x 8 x 3 images and 48 latents."""
    return read(make_oracle(tmp_path_factory.mktemp("fuzzed"))).manifest


def fuzz(
    strategy: st.SearchStrategy[Any], work: Callable[[Any], object], inputs: int, *, least: float
) -> None:
    judge = Judge()

    @fuzzing(inputs)
    @seed(20)
    @given(strategy)
    def each(given_one: Any) -> None:
        judge.judge(lambda: work(given_one))

    each()
    judge.conclude(inputs, least=least)


# Pillow's, of GIFs and TIFFs whose headers announce too much: serving has its own limit.
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("times", RUNS)
def test_images(times: int) -> None:
    def work(data: bytes) -> None:
        pixels = images.decode(data, SPEC, max_pixels=1_000_000, formats=images.FOLDER_FORMATS)
        assert pixels.shape == SPEC.shape

    fuzz(damaged(FILES), work, 1_500 * times, least=0.1)


@pytest.mark.parametrize("times", RUNS)
def test_data_uris(times: int) -> None:
    uris = [
        rendering.data_uri(PNG).encode(),
        base64.b64encode(PNG),
        b"data:;base64,AA==",
        b"data:,x",
    ]
    texts = damaged(uris).map(lambda data: data.decode("latin-1")) | st.text(max_size=200)

    def work(text: str) -> None:
        assert isinstance(rendering.parse_data_uri(text), bytes)

    fuzz(texts, work, 400 * times, least=0.02)


def npy_files() -> list[bytes]:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (3, 8, 8, 3), np.uint8)
    codes = rng.normal(size=(2, 48)).astype(np.float32)
    arrays = [
        pixels,
        codes,
        np.asfortranarray(codes),
        codes.astype(">f4"),
        codes.astype(np.float64),
    ]
    return [rendering.npy(array) for array in arrays] + [
        rendering.npy(codes).replace(b"NUMPY\x01", b"NUMPY\x02"),
        b"\x93NUMPY\x01\x00\x10\x00{'descr': '|O', }",
    ]


@pytest.mark.parametrize("times", RUNS)
def test_npy_files(times: int, manifest: Manifest) -> None:
    def work(data: bytes) -> None:
        wanted: Wanted = "images" if b"u1" in data else "latents"
        assert len(intake._from_npy(data, manifest, wanted, MOST)[0]) <= MOST

    fuzz(damaged(npy_files()), work, 500 * times, least=0.05)


def requests_of_json() -> dict[str, list[bytes]]:
    """By verb."""
    uri = rendering.data_uri(PNG)
    code = np.linspace(-3, 3, 48).round(3).tolist()
    odd = [
        {"images": [1, None, {}, [], "http://a/b.png", ""], "ü": "\ud83d\ude00"},
        {"latents": [[1e39] * 48, [0] * 47, "x", None, [True] * 48]},
    ]
    documents: dict[str, Any] = {
        "encode": {"images": [uri, uri], "encoding_format": "base64"},
        "decode": {"latents": [code, code]},
        "reconstruct": {"images": [uri]},
        "score": {"images": [uri], "by": "l1", "fpr": 0.1},
        "interpolate": {"images": [uri, uri], "frames": 8, "path": "slerp", "fps": 4},
        "sample": {"n": 4, "seed": 7, "truncation": 0.5},
        "vary": {"images": [uri], "strength": 0.25},
    }
    deep = b"[" * 300 + b"]" * 300
    return {
        verb: [*(json.dumps(one).encode() for one in (document, document, *odd)), deep]
        for verb, document in documents.items()
    }


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)
NAMES = st.sampled_from(["images", "latents", "n", "seed", "by", "fpr", "frames", "path"])
GROWN = st.dictionaries(NAMES, TREES, max_size=4).map(lambda tree: json.dumps(tree).encode())


def read_request(body: bytes, content_type: str, verb: str, manifest: Manifest) -> None:
    """All that happens to a body before anything is queued."""
    wanted = intake.kind_wanted(verb, manifest)
    payload = bodies.read(body, content_type, wanted, max_items=MOST)
    known = parameters.known(verb, max_images=MOST, max_frames=64)
    values = parameter.parse(known, payload.given)
    rows: npt.NDArray[Any] | None = None
    if payload.files is not None:
        intake.check_count(len(payload.files), MOST, "images")
        decoded = [images.decode(intake.file_of(file), SPEC) for file in payload.files]
        rows = np.stack(decoded)
    elif payload.npy is not None and wanted:
        rows, _ = intake._from_npy(payload.npy, manifest, wanted, MOST)
    elif wanted:
        rows, _ = intake._from_rows(payload.rows, manifest, wanted, MOST)
    intake.check_number(verb, rows, values, max_frames=64)


@pytest.mark.parametrize("times", RUNS)
def test_json(times: int, manifest: Manifest) -> None:
    def work(drawn: tuple[bytes, str]) -> None:
        read_request(drawn[0], "application/json", drawn[1], manifest)

    fitting = [
        st.tuples(damaged(files), st.just(verb)) for verb, files in requests_of_json().items()
    ]
    fuzz(
        st.one_of(*fitting, st.tuples(GROWN, st.sampled_from(VERBS))), work, 700 * times, least=0.02
    )


def forms() -> list[bytes]:
    def part(head: str, data: bytes) -> bytes:
        return f"--b\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + data + b"\r\n"

    image = part('name="images"; filename="a.png"\r\nContent-Type: image/png', PNG)
    n = part('name="n"', b"3")
    return [
        image + b"--b--\r\n",
        image * 3 + n + b"--b--\r\n",
        n + part('name="seed"', b"12") + b"--b--\r\n",
        part("name=\"images\"; filename*=UTF-8''%e2%82%ac", PNG) + b"--b--",
        b"preamble\r\n" + image + b"--b--\r\nepilogue",
        part('name="by"', b"\xff\xfe") * 70 + b"--b--\r\n",
    ]


@pytest.mark.parametrize("times", RUNS)
def test_forms(times: int, manifest: Manifest) -> None:
    said = b"multipart/form-data; boundary=b"
    types = st.just(said) | damaged([said, b'multipart/form-data; boundary="b"; charset=x'])

    def work(drawn: tuple[bytes, bytes, str]) -> None:
        body, content_type, verb = drawn
        read_request(body, content_type.decode("latin-1"), verb, manifest)

    fuzz(st.tuples(damaged(forms()), types, st.sampled_from(VERBS)), work, 600 * times, least=0.01)


@pytest.mark.parametrize("times", RUNS)
def test_queries_and_accepted_types(times: int) -> None:
    queries = [b"n=3&seed=12&truncation=0.5", b"by=l1&fpr=.05&heatmap=map", b"frames=8&path=lerp"]
    accepts = [
        b"image/png;q=0.5, */*;q=0.1",
        b"application/json",
        b"image/*, text/html;q=nan;level=1",
    ]
    offered = (answers.JSON, answers.NPY, answers.PNG)

    def work(drawn: tuple[bytes, bytes, str]) -> None:
        query, accept, verb = drawn
        assert answers.negotiate(accept.decode("latin-1"), offered) in offered
        parameter.parse(parameters.known(verb, max_images=MOST, max_frames=64), bodies.query(query))

    drawn = st.tuples(damaged(queries), damaged(accepts), st.sampled_from(VERBS))
    fuzz(drawn, work, 300 * times, least=0.005)


@pytest.mark.parametrize("text", ["1" * 60_000 + "x", "1." + "1" * 60_000, "+." + "1" * 60_000])
def test_endless_digits_are_refused_at_once(text: str) -> None:
    """Not after minutes, in which nobody else is answered: as many ways as there are to match."""
    known = parameters.known("sample", max_images=MOST)
    with pytest.raises(BadRequest, match=r"truncation must be a finite number, got '[+.1]{56}"):
        parameter.parse(known, bodies.query(f"truncation={text}".replace("+", "%2B").encode()))


def inferences() -> list[bytes]:
    """JSON, and tensors as bytes behind it."""
    pixels = np.random.default_rng(5).integers(0, 256, (2, 8, 8, 3), np.uint8)
    tensor = {"name": "images", "datatype": "UINT8", "shape": [2, 8, 8, 3]}

    def sized(size: int, **more: Any) -> dict[str, Any]:
        return {**tensor, **more, "parameters": {"binary_data_size": size}}

    file = struct.pack("<I", len(PNG)) + PNG
    outputs = [{"name": "latents", "parameters": {"binary_data": True}}]
    requests: list[tuple[dict[str, Any], bytes]] = [
        ({"inputs": [sized(pixels.nbytes)], "id": "a", "outputs": outputs}, pixels.tobytes()),
        ({"inputs": [sized(2 * len(file), datatype="BYTES", shape=[2])]}, file * 2),
        ({"inputs": [{**tensor, "data": pixels.tolist()}], "parameters": {"timeout": 9}}, b""),
    ]
    return [_framed(json.dumps(document).encode(), data) for document, data in requests]


def _framed(said: bytes, data: bytes) -> bytes:
    """A request as this test carries it: how long its JSON is, the JSON, the tensors."""
    return struct.pack("<H", len(said)) + said + data


@pytest.mark.parametrize("times", RUNS)
def test_inferences(times: int, manifest: Manifest) -> None:
    graph = manifest.graphs["encode"]
    whole = st.sampled_from(inferences()).flatmap(
        # The tensors damaged alone, too: most damage to the JSON is the end of it.
        lambda one: st.tuples(
            st.just(one[: 2 + int.from_bytes(one[:2], "little")]),
            damaged([one[2 + int.from_bytes(one[:2], "little") :] or b"x"]),
        ).map(b"".join)
    )

    def work(framed: bytes) -> None:
        length, body = int.from_bytes(framed[:2], "little"), framed[2:]
        found = tensors.parse(body, min(length, len(body)), graph, max_rows=MOST)
        (given,) = found.inputs
        if isinstance(given, list):
            assert len([images.decode(intake.file_of(one), SPEC) for one in given]) <= MOST
        else:
            assert given.shape[1:] == SPEC.shape

    fuzz(damaged(inferences()) | whole, work, 500 * times, least=0.02)


@pytest.mark.parametrize("times", RUNS)
def test_packed_bodies(times: int) -> None:
    bomb = zlib.compress(bytes(10_000_000), 9)
    packed = [
        gzip.compress(inferences()[0], mtime=0),
        gzip.compress(PNG, mtime=0) * 2,
        zlib.compress(PNG),
        bomb,
        gzip.compress(b"", mtime=0),
    ]

    def work(drawn: tuple[bytes, str]) -> None:
        assert len(codings.decoded(drawn[0], drawn[1], limit=100_000)) <= 100_000

    names = st.sampled_from(["gzip", "x-gzip", "deflate", " GZIP", "identity", "br", ""])
    fuzz(st.tuples(damaged(packed), names), work, 500 * times, least=0.02)
