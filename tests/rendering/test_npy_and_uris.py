"""npy files and data URIs, both ways; what comes in is read as if an enemy had written it."""

import base64
import pickle
import struct
import time
from io import BytesIO
from typing import Any

import numpy as np
import pytest

from serving.errors import BadRequest, ServingError, TooLarge, Unprocessable
from serving.rendering import data_uri, npy, parse_data_uri, read_npy

RNG = np.random.default_rng(2)


def saved(array: Any, **options: Any) -> bytes:
    """The array as numpy saves it."""
    buffer = BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def file(
    header: str | bytes, body: bytes = b"", *, version: int = 1, length: int | None = None
) -> bytes:
    """An npy file with any header."""
    text = header.encode("latin-1") if isinstance(header, str) else header
    size = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + body


def header(descr: str = "'|u1'", fortran: str = "False", shape: str = "(2, 3)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


SHAPES = [(2, 3), (1,), (), (4, 2, 3, 1), (1, 0x1234)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["u1", "<f4"])
def test_npy_is_what_numpy_writes_and_reads(shape: tuple[int, ...], dtype: str) -> None:
    array = RNG.integers(0, 256, shape).astype(dtype)
    assert npy(array) == saved(array)
    np.testing.assert_array_equal(np.load(BytesIO(npy(array))), array)
    found = read_npy(saved(array), dtype=dtype)
    assert (found.dtype, found.shape) == (np.dtype(dtype), shape)
    np.testing.assert_array_equal(found, array)


def test_npy_of_views_and_of_nothing() -> None:
    array = RNG.random((4, 6), np.float32)
    for view in (array.T, array[::2, ::-3], array[:0]):
        np.testing.assert_array_equal(np.load(BytesIO(npy(view))), view)


@pytest.mark.parametrize("dtype", [">f4", "<f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_both_byte_orders_and_both_memory_orders_are_read(dtype: str, order: Any) -> None:
    array = np.asarray(RNG.random((3, 4, 5)), dtype=dtype, order=order)
    found = read_npy(saved(array), dtype=np.float32)
    assert found.dtype == np.dtype("<f4")
    assert found.flags.c_contiguous
    assert found.flags.aligned
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_of_the_format_is_read(version: int) -> None:
    found = read_npy(file(header(), b"abcdef", version=version), dtype="u1")
    assert found.tolist() == [[97, 98, 99], [100, 101, 102]]


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)}",
        "{ 'descr':'|u1','fortran_order':False,'shape':(2,3) , }   \n",
        "{'descr': '<u1', 'fortran_order': False, 'shape': (2, 3,), }\n",
    ],
)
def test_headers_of_other_writers_are_read(text: str) -> None:
    assert read_npy(file(text, b"abcdef"), dtype="u1").shape == (2, 3)


def test_bytes_are_read_where_they_are() -> None:
    array = RNG.integers(0, 256, (10, 64, 64), np.uint8)
    data = saved(array)
    found = read_npy(data, dtype="u1")
    assert np.shares_memory(found, np.frombuffer(data, np.uint8))
    assert not found.flags.writeable


@pytest.mark.parametrize("spaces", range(4))
def test_a_body_at_an_odd_place_is_moved(spaces: int) -> None:
    text = header("'<f4'", shape="(2,)") + " " * spaces
    found = read_npy(file(text, struct.pack("<2f", 1, 2)), dtype="f4")
    assert found.flags.aligned
    assert found.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (b"", BadRequest, "does not begin as one"),
        (b"\x93NUMPY", BadRequest, "does not begin as one"),
        (b"\x93NUMPY\1\0v\0", BadRequest, "does not begin as one"),
        (b"PK\3\4" + bytes(100), BadRequest, "does not begin as one"),
        (file(header(), b"abcdef", version=4), BadRequest, "does not begin as one"),
        (file(header(), b"abcdef", version=0), BadRequest, "does not begin as one"),
        (file(header(), length=60_000), BadRequest, "a header of 60,000 bytes"),
        (file(header(), version=2, length=2**32 - 1), BadRequest, "header of 4,294,967,295 bytes"),
        (file(header() + " " * 5000, b"abcdef"), BadRequest, "a header of 5,0"),
        (file(header(), b"abcde"), BadRequest, r"[2, 3] uint8, 6 bytes, has 5"),
        (file(header(), b"abcdefg"), BadRequest, r"[2, 3] uint8, 6 bytes, has 7"),
        (file(header(), b""), BadRequest, "6 bytes, has 0"),
        (file(header(shape="(99999999999, 9)"), b"abc"), BadRequest, ",999,991 bytes, has 3"),
        (file(header(shape=f"({2**63}, 2)"), b"abc"), BadRequest, "has 3"),
        (file(header(shape=f"({2**64},)"), b""), BadRequest, "has 0"),
        (file(header(shape="(0, 9)"), b""), Unprocessable, "without elements"),
        (file(header(shape=f"({2**63}, 0)"), b""), Unprocessable, "without elements"),
        (file(header(shape="(-2, -3)"), b"abcdef"), BadRequest, "not that of a plain array"),
        (file(header(shape="(2, 3"), b"abcdef"), BadRequest, "not that of a plain array"),
        (file(header(shape="[2, 3]"), b"abcdef"), BadRequest, "not that of a plain array"),
        (file(header(shape="(2.0, 3)"), b"abcdef"), BadRequest, "not that of a plain array"),
        (file(header(shape="(2 3)"), b"abcdef"), BadRequest, "not that of a plain array"),
        (file(header(shape="(2,,3)"), b"abcdef"), BadRequest, "not that of a plain array"),
        (file(header(shape="(2L, 3L)"), b"abcdef"), BadRequest, "not that of a plain array"),
        (file(header(shape="(" + "1," * 300 + ")"), b"a"), BadRequest, "not that of a plain array"),
        (file(header(shape="(" + "1," * 150 + ")"), b"a"), Unprocessable, "150 axes"),
        (file(header(shape="__import__('os')"), b""), BadRequest, "not that of a plain array"),
        (file(header(fortran="1"), b"abcdef"), BadRequest, "not that of a plain array"),
        (file("{}", b"abcdef"), BadRequest, "not that of a plain array"),
        (file("", b"abcdef"), BadRequest, "not that of a plain array"),
        (file("(" * 4000, b"abcdef"), BadRequest, "not that of a plain array"),
        (file(header() + "x", b"abcdef"), BadRequest, "not that of a plain array"),
        (file(header("[('a', '|u1')]"), b"abcdef"), BadRequest, "not that of a plain array"),
        (file(header("'|O'"), b"abcdef"), Unprocessable, "'|O'; this takes uint8 ('|u1')"),
        (file(header("'<f4'"), bytes(24)), Unprocessable, "'<f4'; this takes uint8"),
        (file(header("'|b1'"), bytes(6)), Unprocessable, "'|b1'; this takes uint8"),
        (file(header("'|i1'"), bytes(6)), Unprocessable, "'|i1'; this takes uint8"),
        (file(header("'u1'"), bytes(6)), Unprocessable, "'u1'; this takes uint8"),
        (file(header("'|V6'"), bytes(36)), Unprocessable, "'|V6'; this takes uint8"),
    ],
)  # fmt: skip
def test_other_files_are_refused_with_the_reason(
    data: bytes, error: type[ServingError], says: str
) -> None:
    started = time.thread_time()
    with pytest.raises(error) as caught:
        read_npy(data, dtype=np.uint8)
    assert type(caught.value) is error
    assert says in caught.value.detail
    assert time.thread_time() - started < 2


def test_a_pickle_is_never_opened() -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return exec, ("raise SystemExit('opened')",)

    trap = np.array([Trap()], object)
    with pytest.raises(Unprocessable, match=r"'\|O'"):
        read_npy(saved(trap, allow_pickle=True), dtype="u1")
    with pytest.raises(BadRequest):
        read_npy(pickle.dumps(Trap()), dtype="u1")


def test_float64_is_refused_and_told_what_is_wanted() -> None:
    with pytest.raises(Unprocessable, match=r"'<f8'; this takes float32 \('<f4'\)"):
        read_npy(saved(np.zeros(3)), dtype=np.float32)


def test_rows_are_limited() -> None:
    data = saved(np.zeros((5, 2), np.uint8))
    assert len(read_npy(data, dtype="u1", max_rows=5)) == 5
    with pytest.raises(TooLarge, match="5 rows; the limit is 4"):
        read_npy(data, dtype="u1", max_rows=4)


def test_damage_anywhere_is_refused_or_harmless() -> None:
    good = saved(RNG.integers(0, 256, (3, 4), np.uint8))
    for _ in range(5_000):
        body = bytearray(good)
        for at in RNG.integers(0, len(body), 2):
            body[at] = RNG.integers(0, 256)
        cut = bytes(body[: RNG.integers(0, len(body) + 1)]) if RNG.random() < 0.2 else bytes(body)
        try:
            assert read_npy(cut, dtype="u1").size == 12
        except ServingError as error:
            assert error.status in {400, 422}  # noqa: PT017  # either outcome is fine


# --- Data URIs -------------------------------------------------------------------------------

DATA = bytes(range(256))
TEXT = base64.b64encode(DATA).decode()


def test_a_data_uri_can_be_read_back() -> None:
    assert data_uri(DATA) == f"data:image/png;base64,{TEXT}"
    assert parse_data_uri(data_uri(DATA)) == DATA


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"data:;base64,{TEXT}",
        f"data:image/jpeg;base64,{TEXT}",
        f"data:image/png;name=a.png;base64,{TEXT}",
        f"DATA:image/png;BASE64,{TEXT}",
        "\n".join(TEXT[i : i + 76] for i in range(0, len(TEXT), 76)) + "\r\n",
        f" {TEXT}\t",
    ],
)
def test_base64_is_read_however_it_is_wrapped(text: str) -> None:
    assert parse_data_uri(text) == DATA


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("!!", "neither a data URI nor base64"),
        ("hello, world", "neither a data URI nor base64"),
        (TEXT[:-1], "neither a data URI nor base64"),
        (TEXT + "=", "neither a data URI nor base64"),
        (TEXT[:8] + "=" + TEXT[9:], "neither a data URI nor base64"),
        (TEXT.replace("+", "-"), "neither a data URI nor base64"),
        ("gr\xfc\xdfe", "neither a data URI nor base64"),
        ("\N{SNOWMAN}", "neither a data URI nor base64"),
        ("data:image/png;base64,!!", "neither a data URI nor base64"),
        ("data:image/png,abc", "a data URI that is not base64"),
        ("data:image/svg+xml;utf8,<svg/>", "a data URI that is not base64"),
        ("data:", "a data URI that is not base64"),
        ("http://169.254.169.254/latest/meta-data", "never fetched"),
        ("https://example.org/cat.png", "never fetched"),
        ("file:///etc/passwd", "never fetched"),
    ],
)
def test_other_text_is_refused(text: str, says: str) -> None:
    with pytest.raises(Unprocessable) as caught:
        parse_data_uri(text)
    assert says in caught.value.detail


def test_a_data_uri_of_nothing_is_no_bytes() -> None:
    assert parse_data_uri("data:image/png;base64,") == b""
