"""What /openapi.json says of the verbs, from the tables that parse and answer them."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from serving import verbs
from serving.routes import answers
from serving.routes.answer_types import DOCUMENTS
from serving.routes.answers import NDJSON, NPY
from serving.routes.bodies import FORM, FORM_FIELDS, IMAGE_TYPES
from serving.routes.items import Items, Wanted, least, most
from serving.routes.openapi import DEADLINE, JSON, PIXEL, Json, Media, Operation
from serving.routes.parameter import Parameter
from serving.routes.parameters import known
from serving.settings import Settings

_TAG: Final = "verbs"
_FILE: Final[Json] = {"type": "string", "format": "binary"}  # in a form
_BYTES: Final[Json] = {}  # of a media type: OpenAPI 3.1 has no more to say of it
_SUMMARIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "encode": "E(x): latents of images.",
        "decode": "G(z): images of latents.",
        "reconstruct": "G(E(x)): images there and back.",
        "score": "How abnormal images are: higher is more abnormal.",
        "interpolate": "A morph along a path through the codes of images.",
        "sample": "G(z) of codes drawn from the prior.",
        "vary": "Images near the one given.",
    }
)
_PROBLEMS: Final = (404, 406, 408, 415, 422, 429, 504)
_PROBLEMS_OF_GET: Final = (404, 406, 408, 422, 429, 504)
_PARAMETERS: Final = (
    "Parameters stand in the query, or in the JSON or form beside what is sent; not in both."
)
_PREFER: Final[Json] = {
    "name": "Prefer",
    "in": "header",
    "description": "`partial`: in JSON and in lines, items that fail do not fail the others.",
    "schema": {"type": "string"},
}
_IF_NONE_MATCH: Final[Json] = {
    "name": "If-None-Match",
    "in": "header",
    "description": "ETags of what is there already.",
    "schema": {"type": "string"},
}
_CACHE_HEADERS: Final[Json] = {
    "ETag": {"description": "With a seed; weak in JSON.", "schema": {"type": "string"}},
    "Cache-Control": {"required": True, "schema": {"type": "string"}},
}
_PARTIAL_HEADERS: Final[Json] = {
    "Preference-Applied": {
        "description": "`partial`, where that was asked for and has a place in the format.",
        "schema": {"type": "string"},
    }
}


def native(settings: Settings, *, latent: int | None = None) -> list[Operation]:
    """The operations of the native dialect; `latent` is the default model's size of codes."""
    operations = [_post(verb, settings, latent) for verb in verbs.VERBS]
    return [*operations, _get_sample(settings)]


def typed(settings: Settings) -> list[Operation]:
    """The typed methods that BentoML serves, and its schema of them."""
    model = {"type": "string", "default": "default"}
    operations = [
        Operation(
            method="post",
            path=f"/{verb}",
            tag="BentoML",
            summary=_SUMMARIES[verb],
            description="For BentoML's clients; images only, in JSON only. null is the default.",
            parameters=[DEADLINE],
            body={JSON: Media(_json_body(verb, settings, {"model": model}, images_only=True))},
            body_required=verb != "sample",
            answer={JSON: Media(DOCUMENTS[verb])},
            problems=tuple(status for status in _PROBLEMS if status != 406),
            name=f"typed_{verb}",
        )
        for verb in verbs.VERBS
    ]
    schema = Operation(
        method="get",
        path="/schema.json",
        tag="BentoML",
        summary="BentoML's schema of its typed methods.",
        answer={JSON: Media({"type": "object"})},
    )
    document = Operation(
        method="get",
        path="/docs.json",
        tag="BentoML",
        summary="BentoML's own OpenAPI document: its typed methods and no other path.",
        answer={JSON: Media({"type": "object"})},
    )
    return [*operations, schema, document]


def _post(verb: str, settings: Settings, latent: int | None) -> Operation:
    return Operation(
        method="post",
        path=f"/v1/models/{{model}}/{verb}",
        tag=_TAG,
        summary=_SUMMARIES[verb],
        description=_PARAMETERS,
        parameters=[*_in_query(verb, settings), DEADLINE, _PREFER],
        body=dict(_bodies(verb, settings, latent)),
        body_required=verb != "sample",
        answer=_answers(verb),
        answer_headers=_PARTIAL_HEADERS,
        problems=_PROBLEMS,
        name=verb,
    )


def _get_sample(settings: Settings) -> Operation:
    return Operation(
        method="get",
        path="/v1/models/{model}/sample",
        tag=_TAG,
        summary=_SUMMARIES["sample"],
        description="As POST; with a seed for caches to keep, so that it can stand in an `<img>`.",
        parameters=[*_in_query("sample", settings), DEADLINE, _IF_NONE_MATCH],
        answer=_answers("sample"),
        answer_headers=_CACHE_HEADERS,
        others={304: "What If-None-Match names is still what this would give."},
        problems=_PROBLEMS_OF_GET,
        name="show_sample",
    )


def _known(verb: str, settings: Settings) -> Sequence[Parameter]:
    return known(verb, max_images=settings.max_images, max_frames=settings.max_frames)


def _in_query(verb: str, settings: Settings) -> Iterator[Json]:
    for one in _known(verb, settings):
        said = {"name": one.name, "in": "query", "description": one.about, "schema": one.schema()}
        yield said | ({"explode": False} if one.kind is list else {})


def _in_body(verb: str, settings: Settings) -> Json:
    return {one.name: {**one.schema(), "description": one.about} for one in _known(verb, settings)}


def _bodies(verb: str, settings: Settings, latent: int | None) -> Iterator[tuple[str, Media]]:
    yield JSON, Media(_json_body(verb, settings, {}), _example(verb, latent))
    # a form's lists would be several fields of one name, which is given twice
    lists = [one.name for one in _known(verb, settings) if one.kind is list]
    fields = {k: v for k, v in _in_body(verb, settings).items() if k not in lists}
    if verb == "sample":
        form = {"type": "object", "properties": fields, "additionalProperties": False}
        yield FORM_FIELDS, Media(form)
        yield FORM, Media(form)
        return
    yield NPY, Media(_BYTES)
    if verb == "decode":
        return
    counts = {"minItems": least(verb), "maxItems": most(verb, settings.max_images)}
    files = {"type": "array", "items": _FILE, **counts}
    form = {
        "type": "object",
        "properties": {"images": files, **fields},
        "required": ["images"],
        "additionalProperties": False,
    }
    yield FORM, Media(form)
    if verb != "interpolate":  # which wants more than one
        for media_type in IMAGE_TYPES:
            yield media_type, Media(_BYTES)


def _json_body(verb: str, settings: Settings, more: Json, *, images_only: bool = False) -> Json:
    fields = {**_in_body(verb, settings), **more}
    if images_only:  # BentoML's, which draw no files, and to which null is the default
        fields = {
            name: {"anyOf": [schema, {"type": "null"}]} if name not in more else schema
            for name, schema in fields.items()
            if name != "fps"
        }

    def body(wanted: Wanted) -> Json:
        items = Items(wanted).schema(verb, settings.max_images, named=not images_only)
        return _object(fields, **{wanted: items})

    if verb == "sample":
        return _object(fields)
    if verb == "decode":
        return body("latents")
    return body("images") if images_only else {"anyOf": [body("images"), body("vectors")]}


def _object(fields: Json, **items: Json) -> Json:
    return {
        "type": "object",
        "properties": {**items, **fields},
        "required": list(items),
        "additionalProperties": False,
    }


def _example(verb: str, latent: int | None) -> Any:
    return {
        "decode": None if latent is None else {"latents": [[0.0] * latent]},
        "sample": {"n": 2, "seed": 7},
        "interpolate": {"images": [PIXEL, PIXEL], "frames": 5},
        "vary": {"images": [PIXEL], "n": 2, "seed": 7},
    }.get(verb, {"images": [{"id": "black", "image": PIXEL}]})


def _answers(verb: str) -> Mapping[str, Media]:
    forms: dict[str, Media] = {}
    for media_type in answers.formats_of_images(verb):
        if media_type == JSON:
            forms[JSON] = Media(DOCUMENTS[verb])
        elif media_type == NDJSON:
            forms[NDJSON] = Media({"type": "string", "description": _LINES})
        else:
            forms[media_type] = Media(_BYTES)
    return forms


_LINES: Final = (
    "An object per item in order, with `index`, its `id` if it has one, and its values or a "
    "`problem`; the last line has `usage`, or the `problem` that ended the answer."
)
