"""What dialects say of their paths; serving.routes.openapi_document makes /openapi.json of it.

Whoever owns routes owns their description.  Beside `routes()` a dialect has

    def operations(self) -> list[Operation]:
        return [
            Operation(
                method="post",
                path="/v1/models/{model}/load",
                tag="models",
                summary="Load a model.",
                answer={JSON: Media(ModelAnswer, {"id": "fashion", "state": "ready"})},
                problems=(404, 409),
                access="admin",
            ),
        ]

and `serving.app.dialects` names the dialect; nothing else is to be done, and a test fails for a
route without an operation.  Parameters in the path, request ids, the statuses that any path has,
401 and 403 are added there.  A schema is a JSON schema, or a type from which pydantic makes one: a
TypedDict that is also what the code which builds the answer is checked against.  Its docstring, and
what its fields say (`Annotated[int, About("rows")]`), become descriptions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

Json = dict[str, Any]
Access = Literal["open", "key", "admin"]

JSON: Final = "application/json"
TEXT: Final = "text/plain"
PROBLEM: Final = "application/problem+json"
DEADLINE: Final[Json] = {
    "name": "X-Deadline-Ms",
    "in": "header",
    "description": "When the answer is wanted, in milliseconds; sooner than the server would.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
}
# Black, 1 x 1: an example that works as it stands.
PIXEL: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgAB"
    "SK+kcQAAAABJRU5ErkJggg=="
)


@dataclass(frozen=True, slots=True)
class About:
    """Beside a type in `Annotated`: the description of a field.  pydantic calls the method."""

    text: str

    def __get_pydantic_json_schema__(self, core: Any, handler: Callable[[Any], Json]) -> Json:
        return {**handler(core), "description": self.text}


class ItemFault(TypedDict):
    """What is wrong with one item of a request that holds several."""

    index: int
    detail: str


class Problem(TypedDict):
    """An error as RFC 9457 wants it."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: NotRequired[list[ItemFault]]


@dataclass(frozen=True, slots=True)
class Media:
    """One form of a body: its schema, and an example where one helps."""

    schema: Any  # a JSON schema, or a type that pydantic knows
    example: Any = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One method of one path."""

    method: str  # in small letters
    path: str  # as the router has it
    tag: str  # its group in /docs
    summary: str  # one sentence
    description: str = ""  # Markdown
    # OpenAPI's parameter objects of query and headers; those in the path need none.
    parameters: Sequence[Json] = ()
    body: Mapping[str, Media] = field(default_factory=dict)  # by media type
    body_required: bool = True
    answer: Mapping[str, Media] = field(default_factory=dict)  # by media type
    answer_headers: Mapping[str, Json] = field(default_factory=dict)  # beside those of all
    others: Mapping[int, str] = field(default_factory=dict)  # good statuses without a body
    problems: Sequence[int] = ()  # beside those of any path, 401 and 403
    problem: Mapping[str, Media] = field(default_factory=lambda: {PROBLEM: Media(Problem)})
    access: Access = "key"  # whom it wants to see a key of
    name: str = ""  # its operationId; made of method and path if not given
