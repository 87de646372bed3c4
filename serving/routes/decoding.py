"""JSON bodies, decoded into the types that /openapi.json shows: msgspec does that, and checks.

msgspec and not pydantic, which is here anyway: its import takes 20 ms and not 130, and a server
starts without pydantic.
"""

import json
from collections.abc import Collection, Sequence
from typing import Any, Final, TypeVar

import msgspec

from serving.errors import BadRequest, TooLarge

T = TypeVar("T")
MAX_NODES: Final = 262_144  # lists and objects in a JSON body
MAX_FIELDS: Final = 64  # beside the images: parameters are few
_ANY: Final = msgspec.json.Decoder(dict[str, Any])
_PLACE: Final = " - at `$"


def decoded(body: bytes | memoryview, decoder: "msgspec.json.Decoder[T]") -> T:
    """What `body` holds.

    Raises:
        BadRequest: no JSON, or not what the decoder's type says; names the field.
        TooLarge: more lists and objects than `MAX_NODES`.
    """
    check_nodes(body)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise BadRequest(_worded(str(error))) from error
    except RecursionError as error:
        raise BadRequest("the body is not JSON that can be read: nested too deeply") from error
    except ValueError as error:  # of text that is no UTF-8, too
        raise BadRequest(f"the body is not JSON: {str(error)[:200]}") from error


def check_nodes(body: bytes | memoryview) -> None:
    """Raises TooLarge for JSON of so many lists and objects that they take far more than the body.

    A `[]` of 3 bytes with its comma becomes 64 bytes of memory.
    """
    if len(body) > MAX_NODES:
        body = bytes(body)
        if body.count(b"[") + body.count(b"{") > MAX_NODES:
            raise TooLarge(f"the JSON has more than {MAX_NODES:,} lists and objects")


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object that `body` is, no key in it twice at the top level; else BadRequest."""
    document = decoded(body, _ANY)
    check_keys(body, document)
    return document


def check_keys(body: bytes, document: Collection[str]) -> None:
    """Raises BadRequest if a key stands twice at the top level, where a decoder keeps the last.

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


def _worded(said: str) -> str:
    """msgspec's sentence with the place first: "inputs[0].shape: expected `array`, got `str`"."""
    what, _, place = said.partition(_PLACE)
    where = place.rstrip("`").lstrip(".").replace("[...]", "") or "the JSON"
    return f"{where[:120]}: {what[:1].lower()}{what[1:200]}"
