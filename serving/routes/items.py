"""The images, vectors or latents of a request in JSON: read and described here, from one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from serving.errors import BadRequest
from serving.routes.parameters import MAX_WAYPOINTS

Wanted = Literal["images", "vectors", "latents"]
Json = dict[str, Any]

MAX_ID: Final = 256  # characters
IMAGE_URI: Final = "image-data-uri"  # the format of images in JSON
_FLOAT32: Final = 3.4028234e38
IMAGE: Final[Json] = {
    "type": "string",
    "format": IMAGE_URI,
    "description": "An image as data URI, or bare base64. URLs are never fetched.",
}
ROW: Final[Json] = {
    "type": "array",
    "items": {"type": "number", "minimum": -_FLOAT32, "maximum": _FLOAT32},
    "minItems": 1,
}
_ID: Final[Json] = {
    "type": ["string", "null"],
    "maxLength": MAX_ID,
    "description": "Comes back with it.",
}


def least(verb: str) -> int:
    """How few items `verb` takes."""
    return 2 if verb == "interpolate" else 1


def most(verb: str, max_images: int) -> int:
    """And how many, of a server that takes `max_images`."""
    return {"interpolate": MAX_WAYPOINTS, "vary": 1}.get(verb, max_images)


@dataclass(frozen=True, slots=True)
class Items:
    """A list of them under the key `wanted`, each alone or as {"id": ..., "image": ...}."""

    wanted: Wanted

    @property
    def _key(self) -> str:
        return self.wanted.removesuffix("s")

    @property
    def _known(self) -> tuple[str, str]:
        return "id", self._key

    def read(self, value: object) -> tuple[list[Any], list[str | None] | None]:
        """The items, unchecked, and their ids where some have one.

        Raises BadRequest if it is no list, empty, or has an object in it of other keys.
        """
        if not isinstance(value, list):
            found = "nothing" if value is None else "something else"
            raise BadRequest(f"the JSON must have a list `{self.wanted}`, got {found}")
        if not value:
            raise BadRequest(f"`{self.wanted}` is empty")
        if not any(isinstance(item, dict) for item in value):
            return value, None
        found_items, ids = zip(*(self._taken(i, one) for i, one in enumerate(value)), strict=True)
        return list(found_items), list(ids)

    def schema(self, verb: str, max_images: int, *, named: bool = True) -> Json:
        """What `read` takes, and no more items than `verb` does."""
        item = IMAGE if self.wanted == "images" else ROW
        with_id = {
            "type": "object",
            "properties": dict(zip(self._known, (_ID, item), strict=True)),
            "required": [self._key],
            "additionalProperties": False,
        }
        counts = {"minItems": least(verb), "maxItems": most(verb, max_images)}
        return {"type": "array", "items": {"anyOf": [item, with_id]} if named else item, **counts}

    def _taken(self, i: int, item: Any) -> tuple[Any, str | None]:
        if not isinstance(item, dict):
            return item, None
        if unknown := item.keys() - set(self._known):
            known = ", ".join(self._known)
            raise BadRequest(f"`{self.wanted}`[{i}] has {min(unknown)[:60]!r}; known: {known}")
        given = item.get("id")
        if given is not None and not (isinstance(given, str) and len(given) <= MAX_ID):
            raise BadRequest(
                f"`{self.wanted}`[{i}]: id must be text of at most {MAX_ID} characters"
            )
        return item.get(self._key), given


def several(item: Json, max_images: int) -> Sequence[Json]:
    """One item, or a list of them: OpenAI's `input`."""
    return item, {"type": "array", "items": item, "minItems": 1, "maxItems": max_images}
