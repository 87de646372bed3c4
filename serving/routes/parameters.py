"""The parameters of each verb: one table that says what is known, of which type and range.

It parses a request, makes the flags of the command line, and is what /openapi.json shows.
"""

import functools
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, get_args

from serving.latents import MAX_SEED, Path
from serving.rendering import FPS, MAX_FPS, MIN_FPS
from serving.routes.parameter import Parameter, parse
from serving.scoring import FPR

# Defaults of some, for those who must name them in a signature.
FRAMES: Final = 16  # per leg
VARIATIONS: Final = 4
STRENGTH: Final = 0.3
MAX_WAYPOINTS: Final = 16  # of a morph
MAX_REFINE: Final = 16  # each step is two more runs

_SEED: Final = Parameter(
    name="seed",
    about="Draws the same again; without it one is drawn, and told in the answer.",
    kind=int,
    low=0,
    high=MAX_SEED,
)


_LABEL: Final = Parameter(
    name="label",
    about="Of a conditional model: the class of all items, by name or number.",
    kind=object,
)
_LABELS: Final = Parameter(
    name="labels",
    about="Of a conditional model: the class of each item; with commas between in a query.",
    kind=list,
)
_ALL_ALIKE: Final = ("interpolate", "vary")  # verbs whose items have one label together


@functools.cache
def known(
    verb: str, *, max_images: int | None = None, max_frames: int | None = None
) -> tuple[Parameter, ...]:
    """What `verb` knows, within the server's limits where there is one."""
    own = _own(verb, max_images, max_frames)
    if verb in _ALL_ALIKE:
        return (*own, _LABEL)
    return (*own, _LABEL, replace(_LABELS, most=max_images))


def _own(verb: str, max_images: int | None, max_frames: int | None) -> tuple[Parameter, ...]:
    """What `verb` knows beside labels."""
    return {
        "encode": (
            Parameter(
                name="encoding_format",
                about="base64: one string per item, of Z little-endian float32.",
                kind=str,
                default="float",
                choices=("float", "base64"),
            ),
        ),
        "decode": (),
        "reconstruct": (
            Parameter(
                name="refine",
                about="Steps z + E(x) - E(G(z)) that look for a smaller l1.",
                kind=int,
                default=0,
                low=0,
                high=MAX_REFINE,
            ),
        ),
        "score": (
            Parameter(
                name="by",
                about="The term that is the score; the bundle says which, unless told.",
                kind=str,
            ),
            Parameter(
                name="fpr",
                about="The share of normal images that may be flagged.",
                kind=float,
                default=FPR,
                above=0,
                below=1,
            ),
            Parameter(
                name="heatmap",
                about="Where each image is abnormal: grey, or over the image.",
                kind=str,
                default="none",
                choices=("none", "map", "overlay"),
            ),
            Parameter(
                name="tile",
                about="Cut each image, at its own size, into tiles of the model's: their side.",
                kind=int,
                low=1,
            ),
            Parameter(
                name="stride",
                about="Pixels from tile to tile; that of the calibration, else `tile`.",
                kind=int,
                low=1,
            ),
            Parameter(
                name="roi",
                about="What is looked at of each: x,y,width,height, or a mask image as data URI; "
                "width -6 ends 6 pixels before the right border, and so below.",
                kind=str,
            ),
        ),
        "interpolate": (
            Parameter(
                name="frames",
                about="Of each leg, both ends included.",
                kind=int,
                default=FRAMES,
                low=2,
                high=max_frames,
            ),
            Parameter(
                name="path",
                about="Along an arc, or straight.",
                kind=str,
                default="slerp",
                choices=get_args(Path),
            ),
            Parameter(
                name="exact",
                about="Whether the morph meets the very images given, not what G makes of them.",
                kind=bool,
                default=False,
            ),
            Parameter(
                name="fps",
                about="Frames a second, of WebP and GIF.",
                kind=float,
                default=FPS,
                low=MIN_FPS,
                high=MAX_FPS,
            ),
        ),
        "sample": (
            Parameter(name="n", about="How many.", kind=int, default=1, low=1, high=max_images),
            _SEED,
            Parameter(
                name="truncation",
                about="Codes are multiplied by it: below 1 tamer, and more alike.",
                kind=float,
                default=1.0,
                above=0,
                high=1,
            ),
        ),
        "vary": (
            Parameter(
                name="n", about="How many.", kind=int, default=VARIATIONS, low=1, high=max_images
            ),
            Parameter(
                name="strength",
                about="How far from the one given; 0 is as it is.",
                kind=float,
                default=STRENGTH,
                low=0,
                high=10,
            ),
            _SEED,
        ),
    }[verb]


@functools.cache
def defaults(
    verb: str, *, max_images: int | None = None, max_frames: int | None = None
) -> Mapping[str, Any]:
    """What a request without parameters means; most have none."""
    return MappingProxyType(parse(known(verb, max_images=max_images, max_frames=max_frames), ()))
