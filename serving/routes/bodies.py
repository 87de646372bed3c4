"""Request bodies taken apart: bytes and a Content-Type to a `Payload`, without looking at pixels.

Nothing but `whole` waits or touches a network; whoever has the whole body may call the rest on any
thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.types import Receive

from serving import rendering
from serving.containers import kind_of
from serving.errors import BadRequest, UnsupportedType
from serving.routes.decoding import MAX_FIELDS, json_object
from serving.routes.form_parts import FormPart, FormParts
from serving.routes.items import MAX_ID, Items, Wanted
from serving.routes.parameter import Given

SMALL: Final = 65_536  # bytes: a body of no more is taken apart on the event loop itself
MASK: Final = "roi"  # the parameter that may come as a file
_NPY_MAGIC: Final = b"\x93NUMPY"
_NPY_TYPES: Final = ("application/x-npy", "application/npy")
IMAGE_TYPES: Final = ("image/png", "image/jpeg", "image/webp", "image/bmp")
FORM: Final = "multipart/form-data"
FORM_FIELDS: Final = "application/x-www-form-urlencoded"
# What clients say who do not say: curl's default for --data-binary is the form type.
_UNSAID: Final = ("", "application/octet-stream", FORM_FIELDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Payload:
    """What a body holds; at most one of the first three is not None."""

    files: Sequence[bytes | object] | None = None  # encoded images; from JSON: data URIs, unchecked
    rows: object = None  # from JSON: numbers, unchecked
    npy: bytes | None = None
    given: Sequence[Given] = ()
    ids: Sequence[str | None] | None = None  # what the caller calls its items, where it says so


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
    if media_type == FORM and wanted in ("images", None):
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
        types += [*IMAGE_TYPES, FORM]
    return ", ".join(types)


def _from_json(body: bytes, wanted: Wanted | None) -> Payload:
    if not body and wanted is None:
        return Payload()
    document = json_object(body)
    items = document.pop(wanted, None) if wanted else None
    given = [Given(name, value, text=False) for name, value in document.items()]
    if wanted is None:
        return Payload(given=given)
    items, ids = Items(wanted).read(items)
    if wanted == "images":
        return Payload(files=items, given=given, ids=ids)
    return Payload(rows=items, given=given, ids=ids)


def _from_parameters(body: bytes, media_type: str) -> Payload:
    if not body:
        return Payload()
    if media_type != FORM_FIELDS:
        raise UnsupportedType(
            f"Content-Type {media_type or 'missing'}; this reads application/json"
        )
    return Payload(given=query(body))


def _from_multipart(
    body: bytes, content_type: str, wanted: Wanted | None, max_items: int
) -> Payload:
    files: list[bytes] = []
    ids: list[str | None] = []
    given: list[Given] = []
    for name, data, filename in form_parts(body, content_type, max_parts=max_items + MAX_FIELDS):
        if name == wanted:
            files.append(data)
            ids.append(filename[:MAX_ID] if filename else None)
        elif name == MASK and filename is not None:
            given.append(Given(name, rendering.data_uri(data)))
        elif filename is not None:
            where = f"send images in the field `{wanted}`" if wanted else "this takes no files"
            raise BadRequest(f"a file in the field {name[:60]!r}; {where}")
        else:
            given.append(Given(name, data.decode("utf-8", "replace")))
    if wanted and not files:
        raise BadRequest(f"the form has no field `{wanted}`")
    return Payload(files=files if wanted else None, given=given, ids=ids if any(ids) else None)


def form_parts(body: bytes, content_type: str, *, max_parts: int) -> list[FormPart]:
    """The parts of a multipart/form-data body.

    Raises BadRequest if it is malformed or cut off, TooLarge for more than `max_parts`.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    collector = FormParts(max_parts)
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
