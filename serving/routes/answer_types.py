"""What an answer in JSON has in it, as types: /openapi.json is made of them.

Tests hold answers of a real server against them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, NotRequired

from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from serving.routes.openapi import About

Uri = Annotated[str, About("a PNG as data URI")]


class Failed(TypedDict):
    """In the place of an item that failed, where the request said `Prefer: partial`."""

    type: str
    title: str
    status: int
    detail: str
    id: NotRequired[str]


class Cost(TypedDict):
    """What the answer cost."""

    images: Annotated[int, About("rows in the answer")]
    batch: Annotated[int, About("rows of the largest batch that computed a part of it")]
    queue_ms: float
    compute_ms: float
    device: str


class _Answer(TypedDict):
    model: Annotated[str, About("NAME@VERSION that answered")]
    usage: Cost


class _Named(_Answer):
    ids: NotRequired[Annotated[list[str | None], About("as given, where any was")]]


class Latents(_Named):
    """Codes."""

    latents: Annotated[
        list[list[float] | str | Failed], About("Z numbers each, or base64 of float32")
    ]


class Items(_Named):
    """Images, or vectors of a model of vectors."""

    images: NotRequired[list[Uri | Failed]]
    vectors: NotRequired[list[list[float] | Failed]]


class Drawn(Items):
    """Images, and what draws them again."""

    seed: int


class Reconstructions(Items):
    """Images, and how far each is from the one given."""

    latents: list[list[float] | None]
    l1: Annotated[list[float | None], About("mean |x - image| / 255")]
    steps: NotRequired[Annotated[list[int | None], About("of `refine`: the one kept of each")]]


class Place(TypedDict):
    """The most abnormal tile of a frame, in pixels of it."""

    score: float
    x: int
    y: int
    width: int
    height: int


class Judged(TypedDict):
    """How abnormal one image is."""

    score: float
    terms: dict[str, float]
    p_value: float | None
    anomalous: bool | None
    heatmap: Uri | list[float] | None
    tiles: NotRequired[Annotated[int, About("how many it was cut into, where it was")]]
    worst: NotRequired[Place]
    id: NotRequired[str]


class Scores(_Answer):
    """How abnormal each image is."""

    results: list[Judged | Failed]
    threshold: Annotated[float | None, About("scores above it are anomalous")]
    by: Annotated[str, About("the term that is the score")]
    note: NotRequired[Annotated[str, About("why nothing can be flagged, where that is so")]]


DOCUMENTS: Final[Mapping[str, type]] = MappingProxyType(
    {
        "encode": Latents,
        "decode": Items,
        "reconstruct": Reconstructions,
        "score": Scores,
        "interpolate": Items,
        "sample": Drawn,
        "vary": Drawn,
    }
)
