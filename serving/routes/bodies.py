"""Request bodies taken apart: bytes and a Content-Type to a `Payload`, without looking at pixels.

Nothing but `whole` waits or touches a network; whoever has the whole body may call the rest on any
thread.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

import orjson
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.types import Receive

from serving.containers import kind_of
from serving.errors import BadRequest, TooLarge, UnsupportedType
from serving.routes.parameters import Given

Wanted = Literal["images", "vectors", "latents"]

MAX_FIELDS: Final = 64  # form fields beside the images: parameters are few
MAX_NODES: Final = 262_144  # lists and objects in a JSON body
_NPY_MAGIC: Final = b"\x93NUMPY"
_NPY_TYPES: Final = ("application/x-npy", "application/npy")
# What clients say who do not say: curl's default for --data-binary is the form type.
_UNSAID: Final = ("", "application/octet-stream", "application/x-www-form-urlencoded")


@dataclass(frozen=True, kw_only=True, slots=True)
class Payload:
    """What a body holds; at most one of the first three is not None."""

    files: Sequence[bytes | object] | None = None  # encoded images; from JSON: data URIs, unchecked
    rows: object = None  # from JSON: numbers, unchecked
    npy: bytes | None = None
    given: Sequence[Given] = ()


async def whole(receive: Receive) -> bytes:
    """The body of a request; one that came in one piece is not copied."""
    pieces = []
    more = True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def read(body: bytes, content_type: str, wanted: Wanted | None, *, max_items: int) -> Payload:
    """The body as what a verb `wanted` (None: parameters only).

    Raises:
        BadRequest: malformed, or it holds nothing of what is wanted.
        UnsupportedType: a type that this verb does not read.
        TooLarge: more parts than `max_items` and a few parameters.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json":
        return _from_json(body, wanted)
    if media_type == "multipart/form-data" and wanted in ("images", None):
        return _from_multipart(body, content_type, wanted, max_items)
    if wanted is None:
        return _from_parameters(body, media_type)
    if media_type in _NPY_TYPES or (media_type in _UNSAID and body.startswith(_NPY_MAGIC)):
        return Payload(npy=body)
    # The bytes decide: an image sent under another name is served.
    if wanted == "images" and (media_type.startswith("image/") or kind_of(body)):
        return Payload(files=[body])
    if not body and not media_type:
        raise BadRequest(f"no body; this wants {wanted} as {_known(wanted)}")
    raise UnsupportedType(f"Content-Type {media_type or 'missing'}; this reads {_known(wanted)}")


def query(given: bytes) -> list[Given]:
    """The parameters of a query string or form, in order.  Raises BadRequest if it is malformed."""
    if not given:
        return []
    try:
        text = given.decode("ascii")
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=True, max_num_fields=MAX_FIELDS
        )
    except ValueError as error:
        raise BadRequest(f"malformed query string or form: {error}") from error
    return [Given(name, value) for name, value in pairs]


def _known(wanted: Wanted) -> str:
    types = ["application/json", "application/x-npy"]
    if wanted == "images":
        types += ["image/png", "image/jpeg", "image/webp", "image/bmp", "multipart/form-data"]
    return ", ".join(types)


def _from_json(body: bytes, wanted: Wanted | None) -> Payload:
    if not body and wanted is None:
        return Payload()
    _check_nodes(body)
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadRequest(f"the JSON must be an object, got {_json_type(document)}")
    _check_keys(body, document)
    items = document.pop(wanted, None) if wanted else None
    given = [Given(name, value, text=False) for name, value in document.items()]
    if wanted is None:
        return Payload(given=given)
    if not isinstance(items, list):
        found = "nothing" if items is None else _json_type(items)
        raise BadRequest(f"the JSON must have a list `{wanted}`, got {found}")
    if not items:
        raise BadRequest(f"`{wanted}` is empty")
    if wanted == "images":
        return Payload(files=items, given=given)
    return Payload(rows=items, given=given)


def _check_nodes(body: bytes) -> None:
    """Raises TooLarge for JSON of so many lists and objects that they take far more than the body.

    A `[]` of 3 bytes with its comma becomes 64 bytes of memory.
    """
    if len(body) > MAX_NODES and body.count(b"[") + body.count(b"{") > MAX_NODES:
        raise TooLarge(f"the JSON has more than {MAX_NODES:,} lists and objects")


def _check_keys(body: bytes, document: Mapping[str, Any]) -> None:
    """Raises BadRequest if a key stands twice at the top level, where orjson keeps the last.

    A key that is found once in the bytes is not there twice, and searching them costs little
    beside what the images in them cost; only an escape could hide a letter.  Where in doubt, all
    is parsed again.
    """
    if len(document) > MAX_FIELDS:
        return  # some are unknown, and refused as such
    escapes = b"\\" in body and b"\\u" in body  # one byte is found 50 times as fast as two
    if not escapes and all(body.count(b'"%b"' % key.encode()) == 1 for key in document):
        return
    try:
        keys = json.loads(body, object_pairs_hook=_keys, parse_int=str, parse_float=str)
    except RecursionError as error:
        raise BadRequest("the body is not JSON that can be read: nested too deeply") from error
    doubled = next((key for key in keys if keys.count(key) > 1), None)
    if doubled is not None:
        raise BadRequest(f"parameter {doubled[:60]} is given twice")


def _keys(pairs: Sequence[tuple[str, Any]]) -> Sequence[str]:
    return [key for key, _ in pairs]


def _from_parameters(body: bytes, media_type: str) -> Payload:
    if not body:
        return Payload()
    if media_type != "application/x-www-form-urlencoded":
        raise UnsupportedType(
            f"Content-Type {media_type or 'missing'}; this reads application/json"
        )
    return Payload(given=query(body))


def _from_multipart(
    body: bytes, content_type: str, wanted: Wanted | None, max_items: int
) -> Payload:
    files: list[bytes] = []
    given: list[Given] = []
    for name, data, is_file in form_parts(body, content_type, max_parts=max_items + MAX_FIELDS):
        if name == wanted:
            files.append(data)
        elif is_file:
            where = f"send images in the field `{wanted}`" if wanted else "this takes no files"
            raise BadRequest(f"a file in the field {name[:60]!r}; {where}")
        else:
            given.append(Given(name, data.decode("utf-8", "replace")))
    if wanted and not files:
        raise BadRequest(f"the form has no field `{wanted}`")
    return Payload(files=files if wanted else None, given=given)


def form_parts(body: bytes, content_type: str, *, max_parts: int) -> list[tuple[str, bytes, bool]]:
    """The parts of a multipart/form-data body: name, data, whether it came with a file name.

    Raises BadRequest if it is malformed or cut off, TooLarge for more than `max_parts`.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    collector = _Parts(max_parts)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": collector.begin,
                "on_part_data": collector.data,
                "on_part_end": collector.end,
                "on_header_field": collector.header_field,
                "on_header_value": collector.header_value,
                "on_header_end": collector.header_end,
                "on_end": collector.finish,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise BadRequest(f"malformed multipart/form-data: {error}") from error
    if not boundary or not collector.finished:
        raise BadRequest("malformed multipart/form-data: it ends before its closing boundary")
    return collector.parts


class _Parts:
    """What the parser tells, collected."""

    def __init__(self, max_parts: int) -> None:
        self.parts: list[tuple[str, bytes, bool]] = []
        self.finished = False
        self._max_parts = max_parts
        self._begin_header()
        self._disposition = b""
        self._pieces: list[bytes] = []

    def _begin_header(self) -> None:
        self._field = b""
        self._value = b""

    def begin(self) -> None:
        if len(self.parts) >= self._max_parts:
            raise TooLarge(f"more than {self._max_parts} parts in one form")
        self._disposition = b""
        self._pieces = []

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._begin_header()

    def data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def end(self) -> None:
        kind, options = parse_options_header(self._disposition)
        name = options.get(b"name")
        if kind != b"form-data" or name is None:
            raise BadRequest("malformed multipart/form-data: a part without a name")
        self.parts.append(
            (name.decode("utf-8", "replace"), b"".join(self._pieces), b"filename" in options)
        )

    def finish(self) -> None:
        self.finished = True


def _json_type(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    for kind, word in (
        (dict, "an object"),
        (list, "a list"),
        (str, "text"),
        (int | float, "a number"),
    ):
        if isinstance(value, kind):
            return word
    return "null"
