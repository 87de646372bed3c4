"""What /openapi.json says of OpenAI's dialect."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from serving.routes import items, openai_fields
from serving.routes.openai_fields import Fields
from serving.routes.openapi import DEADLINE, JSON, PIXEL, About, Media, Operation
from serving.settings import Settings

IGNORED: Final = "X-Biject-Ignored"  # header: fields of the request that made no difference
_FORM: Final = "multipart/form-data"
_PROBLEMS: Final = (404, 408, 429, 504)
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
    most = settings.max_images
    generation = _object(openai_fields.of("sample", most))
    image = {"type": "string", "format": "binary"}
    variation = _object(openai_fields.of("vary", most), form=True, image=image)
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
            body={JSON: Media(generation, {"prompt": "", "n": 4, "seed": 7})},
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
            body={_FORM: Media(variation, {"image": "a.png", "n": 2, "seed": 7})},
            answer={JSON: Media(Images)},
            answer_headers=_IGNORED,
            problems=_PROBLEMS,
            problem=_ERROR,
            name="openai_images_variations",
        ),
    ]


def _embedding(settings: Settings) -> dict[str, Any]:
    given = {
        "anyOf": [
            *items.several(items.IMAGE, settings.max_images),
            *items.several(items.ROW, settings.max_images),
        ],
        "description": "Images; vectors where the model takes those.",
    }
    return _object(openai_fields.of("encode", settings.max_images), input=given)


def _object(fields: Fields, *, form: bool = False, **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**more, **fields.schema(form=form)},
        "required": [*more, *fields.required],
        "additionalProperties": False,
    }
