"""What /openapi.json says of OpenAI's dialect."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from serving.latents import MAX_SEED
from serving.routes.openapi import DEADLINE, JSON, PIXEL, About, Media, Operation
from serving.settings import Settings

IGNORED: Final = "X-Biject-Ignored"  # header: fields of the request that made no difference
IGNORED_WORDS: Final = ("quality", "style", "moderation")  # of an image that nobody describes
_FORM: Final = "multipart/form-data"
_PROBLEMS: Final = (404, 408, 429, 504)
_SEED: Final = {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_SEED}
_MODEL: Final = {"type": "string", "description": "`NAME`, `NAME@VERSION` or `default`."}
_ANY_MODEL: Final = {**_MODEL, "type": ["string", "null"], "default": "default"}
_TEXT: Final = {"type": ["string", "null"]}
_SIZE: Final = "^(auto|[1-9][0-9]*x[1-9][0-9]*)$"
_IGNORED: Final = {
    IGNORED: {
        "description": "Fields of the request that made no difference.",
        "schema": {"type": "string"},
    }
}


class Fault(TypedDict):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(TypedDict):
    """An error as OpenAI words it."""

    error: Fault


class Embedding(TypedDict):
    """One image's code."""

    object: Literal["embedding"]
    index: int
    embedding: Annotated[list[float] | str, About("Z numbers, or base64 of Z float32")]


class Tokens(TypedDict):
    """There are none: the number of images, twice."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(TypedDict):
    """Codes in the order of the input."""

    object: Literal["list"]
    data: list[Embedding]
    model: Annotated[str, About("NAME@VERSION that answered")]
    usage: Tokens


class Generated(TypedDict):
    """One image."""

    b64_json: Annotated[str, About("a PNG in base64")]


class Images(TypedDict):
    """Images, and what draws them again."""

    created: Annotated[int, About("Unix seconds")]
    data: list[Generated]
    size: Annotated[str, About("WIDTHxHEIGHT")]
    output_format: Literal["png"]
    model: Annotated[str, About("NAME@VERSION that answered")]
    seed: int


_ERROR: Final[Mapping[str, Media]] = {JSON: Media(OpenAIError)}


def of(settings: Settings) -> list[Operation]:
    """The operations of this dialect; `/v1/models` is the server's own."""
    number = {"type": ["integer", "null"], "minimum": 1, "maximum": settings.max_images}
    pictures = {
        "n": {**number, "default": 1},
        "size": {
            **_TEXT,
            "pattern": _SIZE,
            "description": "`auto`, or the size that the model makes.",
        },
        "response_format": {"enum": ["b64_json", None]},
        "user": {**_TEXT, "description": "Ignored."},
        "seed": {**_SEED, "description": "Ours: image i depends on (seed, i) alone."},
    }
    return [
        Operation(
            method="post",
            path="/v1/embeddings",
            tag="OpenAI",
            summary="Images to codes, as OpenAI's clients ask: encode.",
            parameters=[DEADLINE],
            body={JSON: Media(_embedding(settings), {"model": "default", "input": PIXEL})},
            answer={JSON: Media(Embeddings)},
            answer_headers=_IGNORED,
            problems=_PROBLEMS,
            problem=_ERROR,
            name="openai_embeddings",
        ),
        Operation(
            method="post",
            path="/v1/images/generations",
            tag="OpenAI",
            summary="Images from the prior, whatever the prompt says: sample.",
            parameters=[DEADLINE],
            body={JSON: Media(_generation(pictures), {"prompt": "", "n": 4, "seed": 7})},
            answer={JSON: Media(Images)},
            answer_headers=_IGNORED,
            problems=_PROBLEMS,
            problem=_ERROR,
            name="openai_images_generations",
        ),
        Operation(
            method="post",
            path="/v1/images/variations",
            tag="OpenAI",
            summary="Images near the one given: vary.",
            parameters=[DEADLINE],
            body={_FORM: Media(_variation(pictures), {"image": "a.png", "n": 2, "seed": 7})},
            answer={JSON: Media(Images)},
            answer_headers=_IGNORED,
            problems=_PROBLEMS,
            problem=_ERROR,
            name="openai_images_variations",
        ),
    ]


def _embedding(settings: Settings) -> dict[str, Any]:
    image = {
        "type": "string",
        "format": "image-data-uri",
        "description": "A data URI or base64.",
    }
    vector = {"type": "array", "items": {"type": "number"}, "minItems": 1}
    several = {"minItems": 1, "maxItems": settings.max_images}
    return _object(
        {
            "model": _MODEL,
            "input": {
                "anyOf": [
                    image,
                    {"type": "array", "items": image, **several},
                    vector,
                    {"type": "array", "items": vector, **several},
                ],
                "description": "Images; vectors where the model takes those.",
            },
            "encoding_format": {"enum": ["float", "base64", None], "default": "float"},
            "modality": {"enum": ["image", None]},
            "user": {**_TEXT, "description": "Ignored."},
        },
        "model",
        "input",
    )


def _generation(pictures: Mapping[str, Any]) -> dict[str, Any]:
    return _object(
        {
            "prompt": {"type": "string", "description": "Ignored, but clients must send it."},
            "model": _ANY_MODEL,
            **pictures,
            "truncation": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
            "output_format": {"enum": ["png", None]},
            "background": {"enum": ["auto", "opaque", None]},
            "stream": {"enum": [False, None]},
            **{name: {**_TEXT, "description": "Ignored."} for name in IGNORED_WORDS},
        },
        "prompt",
    )


def _variation(pictures: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: _unless_null(schema) for name, schema in pictures.items()}
    return _object(
        {
            "image": {"type": "string", "format": "binary"},
            "model": {**_MODEL, "default": "default"},
            **fields,
            "strength": {"type": "number", "minimum": 0, "maximum": 10},
        },
        "image",
    )


def _unless_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema for a form, which has no null."""
    kept = {key: value for key, value in schema.items() if key not in ("type", "enum")}
    if "enum" in schema:
        return {**kept, "enum": [one for one in schema["enum"] if one is not None]}
    return {**kept, "type": schema["type"][0]}


def _object(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }
