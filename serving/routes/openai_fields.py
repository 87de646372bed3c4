"""The fields of OpenAI's requests: one table, which reads them and which /openapi.json shows.

Some are parameters of the verb that answers; others are OpenAI's own, which can say but one thing
here or make no difference.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from serving.errors import BadRequest, ServingError
from serving.routes import parameters
from serving.routes.parameter import Parameter

_PASSED_ON: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "encode": ("encoding_format", "label"),
        "sample": ("n", "seed", "truncation", "label"),
        "vary": ("n", "seed", "strength", "label"),
    }
)


def _ignored(name: str, about: str = "Ignored.") -> Parameter:
    return Parameter(name=name, about=about, kind=str)


def _only(name: str, *choices: str | bool) -> Parameter:
    about = "Nothing else can be had here."
    return Parameter(name=name, about=about, kind=type(choices[0]), choices=choices)


MODEL: Final = Parameter(
    name="model", about="`NAME`, `NAME@VERSION` or `default`.", kind=str, default="default"
)
SIZE: Final = Parameter(
    name="size", about="`auto`, or the size that the model makes.", kind=str, default="auto"
)
_PROMPT: Final = _ignored("prompt", "Ignored, but clients must send it.")
_THEIRS: Final[Mapping[str, tuple[Parameter, ...]]] = MappingProxyType(
    {
        "encode": (_ignored("user"), _only("modality", "image")),
        "sample": (
            _ignored("user"),
            *(_ignored(name) for name in ("quality", "style", "moderation")),
            _only("background", "auto", "opaque"),
            _only("response_format", "b64_json"),
            _only("output_format", "png"),
            _only("stream", False),
        ),
        "vary": (_ignored("user"), _only("response_format", "b64_json")),
    }
)
# What is looked at before the rest: it must be there, or says which model and size is meant.
_FIRST: Final[Mapping[str, tuple[Parameter, ...]]] = MappingProxyType(
    {
        "encode": (replace(MODEL, default=None),),
        "sample": (_PROMPT, MODEL, SIZE),
        "vary": (MODEL, SIZE),
    }
)
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"encode": ("model",), "sample": ("prompt",), "vary": ()}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fields:
    """Those of one request; `input` and files are no parameters, and come beside them."""

    first: tuple[Parameter, ...]
    ours: tuple[Parameter, ...]  # parameters of the verb
    theirs: tuple[Parameter, ...]
    required: tuple[str, ...]

    def read(self, given: Mapping[str, Any], *, text: bool) -> tuple[dict[str, Any], list[str]]:
        """The verb's parameters, and the names of fields that make no difference.

        Raises BadRequest for an unknown field or one of a wrong type, Unprocessable for one out of
        range, or that asks for what cannot be had; its `parameter` is the field.
        """
        ours = {one.name: one for one in self.ours}
        others = {one.name: one for one in (*self.first, *self.theirs)}
        values = {one.name: one.default for one in self.ours}
        ignored = []
        for name, value in given.items():
            try:
                if name in ours:
                    values[name] = ours[name].parse(value, text=text)
                    continue
                if name not in others:
                    known = ", ".join([*ours, *others])
                    raise BadRequest(f"unknown field {name[:60]!r}; known: {known}")
                others[name].parse(value, text=text)
                if not others[name].choices:
                    ignored.append(name)
            except ServingError as error:
                error.parameter = name
                raise
        return values, ignored

    def schema(self, *, form: bool = False) -> dict[str, Any]:
        """The properties of the JSON, where null says nothing; or of a form, which has no null."""
        return {
            one.name: _described(one, null=not form and one.name not in self.required)
            for one in (*self.first, *self.ours, *self.theirs)
        }


@functools.cache
def of(verb: str, max_images: int) -> Fields:
    """The fields of the request that `verb` answers."""
    known = parameters.known(verb, max_images=max_images)
    # One variation, unless told, is what OpenAI has.
    ours = [replace(one, default=1) if one.name == "n" else one for one in known]
    return Fields(
        first=_FIRST[verb],
        ours=tuple(one for one in ours if one.name in _PASSED_ON[verb]),
        theirs=_THEIRS[verb],
        required=_REQUIRED[verb],
    )


def _described(parameter: Parameter, *, null: bool) -> dict[str, Any]:
    schema = {**parameter.schema(), "description": parameter.about}
    if null:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        schema["type"] = [*types, "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    return schema
