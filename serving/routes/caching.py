"""What makes an answer to GET worth keeping: its ETag, and how long it holds."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from serving.model import Model
from serving.routes.answers import JSON, NDJSON

_YEAR: Final = 31_536_000  # seconds
_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY  # labels of images are an array


def headers(
    model: Model, ref: str, values: Mapping[str, Any], media_type: str, *, private: bool
) -> dict[str, str]:
    """Cache-Control, and an ETag where `values` hold a seed.

    A version of a model never changes, so what NAME@VERSION draws holds for ever; a bare name may
    mean another version tomorrow, and is asked again.  The bytes follow from what the tag is made
    of: only JSON tells how long it took, and has a weak one.
    """
    if values["seed"] is None:
        return {"Cache-Control": "no-store"}
    made_of = [
        model.ref,
        model.manifest.graphs["decode"].sha256,
        model.manifest.weights.sha256 if model.manifest.weights is not None else "",
        model.ready.engine.device,
        media_type,
        dict(values),
    ]
    digest = hashlib.sha256(orjson.dumps(made_of, option=_OPTIONS)).hexdigest()[:32]
    weak = "W/" if media_type in (JSON, NDJSON) else ""
    reach = "private" if private else "public"
    lasting = f"max-age={_YEAR}, immutable" if "@" in ref else "no-cache"
    return {"ETag": f'{weak}"{digest}"', "Cache-Control": f"{reach}, {lasting}"}


def holds(if_none_match: str, etag: str) -> bool:
    """Whether a cache that sent this has what the tag names (RFC 9110, 13.1.2)."""
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in tags or etag.removeprefix("W/") in tags
