"""manifest.json as checked, immutable values: what a bundle says about itself.

Each value is looked at before it is believed, and the complaint names the key.  Unknown keys are
kept in `extra` where they describe, refused where they would change what pixels mean.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, Self, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from serving.errors import BundleError
from serving.fields import Fields
from serving.image_spec import ImageSpec
from serving.signatures import BATCH, FileInfo, GraphInfo, Json, TensorInfo

FORMAT: Final = 1

Prior: TypeAlias = Literal["normal", "uniform"]
_Tensor: TypeAlias = tuple[str, tuple[int | str, ...]]  # dtype, shape
_LABELS: Final[_Tensor] = ("int64", (BATCH,))
_IMAGE: Final = ("height", "width", "channels")
_PREPROCESS: Final = ("fit", "filter", "background")
_KNOWN: Final = (
    "format", "name", "version", "image", "preprocess", "vector", "latent", "graphs", "weights",
    "score", "created", "classes",
)  # fmt: skip
HOT: Final = "0.999"  # the quantile of normal pixels' heat that pictures show brightest
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorSpec:
    """The vectors that a model takes instead of images."""

    size: int  # D
    columns: tuple[str, ...] = ()  # their names: D of them, or none
    # What one unit of a residual is in each column, [D]; None: 1 in all of them.
    scale: npt.NDArray[np.float32] | None = field(default=None, compare=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one vector."""
        return (self.size,)

    @classmethod
    def parse(cls, value: object, where: str) -> Self:
        fields = Fields(value, where, only=("size", "columns", "scale"))
        size, columns = fields.count("size"), tuple(fields.list("columns", []))
        if columns and (len(columns) != size or not all(isinstance(c, str) for c in columns)):
            raise BundleError(f"{where}.columns must be {size} names, got {len(columns)} values")
        scale = fields.positive("scale", size) if "scale" in fields else None
        return cls(size=size, columns=columns, scale=scale)

    def to_dict(self) -> Json:
        columns = {"columns": list(self.columns)} if self.columns else {}
        scale = {} if self.scale is None else {"scale": self.scale.tolist()}
        return {"size": self.size, **columns, **scale}


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentSpec:
    """The space of z."""

    size: int  # Z
    prior: Prior
    categorical: int = 0  # of a mixed prior: so many last numbers are shares of categories
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: object, where: str) -> Self:
        fields = Fields(value, where)
        size = fields.count("size")
        categorical = fields.count("categorical") if "categorical" in fields else 0
        if categorical >= size:
            raise BundleError(f"{where}.categorical must be below {where}.size, got {categorical}")
        return cls(
            size=size,
            prior=cast(Prior, fields.choice("prior", ("normal", "uniform"))),
            categorical=categorical,
            extra=fields.others("size", "prior", "categorical"),
        )

    @property
    def free(self) -> int:
        """How many numbers are no category's."""
        return self.size - self.categorical

    def to_dict(self) -> Json:
        mixed = {"categorical": self.categorical} if self.categorical else {}
        return {"size": self.size, "prior": self.prior, **mixed, **self.extra}


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreSpec:
    """What the score graph gives: T terms, each higher for the more abnormal."""

    terms: tuple[str, ...]
    default: str  # one of `terms`
    extra: Mapping[str, Any] = field(default_factory=dict)  # "calibration", as it was written
    # Scores of normal images, ascending, by term; empty without calibration.
    calibration: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict, compare=False)
    tiles: Mapping[str, Any] | None = None  # how the frames were cut whose scores those are
    full_heat: float | None = None  # that of one pixel in a thousand of normal images

    @classmethod
    def parse(cls, value: object, where: str) -> Self:
        fields = Fields(value, where)
        terms = fields.list("terms")
        if not terms or not all(isinstance(t, str) for t in terms) or len({*terms}) < len(terms):
            raise BundleError(f"{where}.terms must be different names, got {terms!r}")
        extra = fields.others("terms", "default")
        calibration: dict[str, npt.NDArray[np.float64]] = {}
        tiles: Mapping[str, Any] | None = None
        full_heat: float | None = None
        if extra.get("calibration") is not None:
            found = Fields(extra["calibration"], f"{where}.calibration")
            scores = found.mapping("scores")
            if unknown := sorted(scores.keys() - set(terms)):
                raise BundleError(f"{where}.calibration has scores of an unknown term {unknown[0]}")
            columns = Fields(scores, f"{where}.calibration.scores")
            calibration = {term: columns.ascending(term) for term in scores}
            tiles = _tiles(found, f"{where}.calibration.tiles")
            full_heat = _full_heat(found, f"{where}.calibration.heat")
        return cls(
            terms=tuple(terms),
            default=fields.choice("default", terms),
            extra=extra,
            calibration=MappingProxyType(calibration),
            tiles=tiles,
            full_heat=full_heat,
        )

    def to_dict(self) -> Json:
        return {"terms": list(self.terms), "default": self.default, **self.extra}


def _tiles(calibration: Fields, where: str) -> Mapping[str, Any] | None:
    """How frames were cut, as serving.tiles.Tiling says it; None where whole images were scored."""
    if "tiles" not in calibration:
        return None
    tiles = Fields(calibration["tiles"], where, only=("tile", "stride", "roi"))
    said = {key: tiles.count(key) for key in ("tile", "stride")}
    return MappingProxyType(said | ({"roi": tiles["roi"]} if "roi" in tiles else {}))


def _full_heat(calibration: Fields, where: str) -> float | None:
    """The heat that pictures show brightest; None where none is known, or it is 0."""
    if "heat" not in calibration:
        return None
    quantiles = Fields(
        Fields(calibration["heat"], where).mapping("quantiles"), f"{where}.quantiles"
    )
    return float(quantiles.number(HOT)) or None if HOT in quantiles else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A whole manifest.json.  Exactly one of `image` and `vector` is there."""

    name: str
    version: int
    latent: LatentSpec
    graphs: Mapping[str, GraphInfo]
    score: ScoreSpec
    created: float  # Unix seconds
    image: ImageSpec | None = None  # "image" and "preprocess" together
    vector: VectorSpec | None = None
    weights: FileInfo | None = None
    classes: tuple[str, ...] = ()  # of a conditional model: what its graphs' labels number
    extra: Mapping[str, Any] = field(default_factory=dict)  # every other key, as it was written
    format: int = FORMAT

    @classmethod
    def parse(cls, value: object) -> Self:
        """The manifest that this JSON value is.  Raises BundleError, which names the key."""
        fields = Fields(value, "")
        if fields.count("format") != FORMAT:
            raise BundleError(f"format is {fields['format']}; this version reads {FORMAT}")
        manifest = cls(
            name=fields.text("name", NAME),
            version=fields.count("version"),
            latent=LatentSpec.parse(fields["latent"], "latent"),
            graphs=MappingProxyType(
                {k: GraphInfo.parse(v, f"graphs.{k}") for k, v in fields.mapping("graphs").items()}
            ),
            score=ScoreSpec.parse(fields["score"], "score"),
            created=fields.number("created"),
            image=_parse_image(fields) if "image" in fields else None,
            vector=VectorSpec.parse(fields["vector"], "vector") if "vector" in fields else None,
            weights=FileInfo.parse(fields["weights"], "weights") if "weights" in fields else None,
            classes=_parse_classes(fields.list("classes", [])),
            extra=fields.others(*_KNOWN),
        )
        _check(manifest)
        return manifest

    @property
    def item(self) -> tuple[str, tuple[int, ...]]:
        """What one image or vector is: dtype and shape."""
        if self.image is not None:
            return "uint8", self.image.shape
        if self.vector is not None:
            return "float32", (self.vector.size,)
        raise BundleError("image is missing, and vector too")

    @property
    def unit(self) -> npt.NDArray[np.float32] | float:
        """What a residual x - r is divided by: grey levels, or the scale of each column."""
        if self.image is not None:
            return 255.0
        scale = None if self.vector is None else self.vector.scale
        return 1.0 if scale is None else scale

    def to_dict(self) -> Json:
        """The JSON value that `parse` reads as this manifest."""
        written: Json = {"format": self.format, "name": self.name, "version": self.version}
        if self.image is not None:
            written["image"] = {key: getattr(self.image, key) for key in _IMAGE}
            written["preprocess"] = {key: getattr(self.image, key) for key in _PREPROCESS}
            if isinstance(self.image.background, tuple):
                written["preprocess"]["background"] = list(self.image.background)
        if self.vector is not None:
            written["vector"] = self.vector.to_dict()
        written["latent"] = self.latent.to_dict()
        written["graphs"] = {name: graph.to_dict() for name, graph in self.graphs.items()}
        if self.weights is not None:
            written["weights"] = self.weights.to_dict()
        if self.classes:
            written["classes"] = list(self.classes)
        written |= {"score": self.score.to_dict(), "created": self.created}
        return written | dict(self.extra)


def _parse_classes(names: Sequence[Any]) -> tuple[str, ...]:
    if not all(isinstance(name, str) and name for name in names) or len({*names}) < len(names):
        raise BundleError("classes must be different names")
    return tuple(names)


def _parse_image(fields: Fields) -> ImageSpec:
    image = Fields(fields["image"], "image", only=_IMAGE)
    preprocess = Fields(fields["preprocess"], "preprocess", only=_PREPROCESS)
    values = {key: image[key] for key in _IMAGE} | {key: preprocess[key] for key in _PREPROCESS}
    if isinstance(values["background"], list):
        values["background"] = tuple(values["background"])
    try:
        return ImageSpec(**values)
    except ValueError as error:
        raise BundleError(f"image or preprocess: {error}") from error


def _check(manifest: Manifest) -> None:
    """Raises BundleError where the parts, each sound, do not fit together."""
    if manifest.name == "default":
        raise BundleError('name is "default", which means any model')
    if manifest.image is not None and manifest.vector is not None:
        raise BundleError("image and vector are both there; a model takes one of them")
    signatures = _signatures(manifest)
    decode = manifest.graphs.get("decode")
    if manifest.classes and decode is not None and len(decode.inputs) == 1:
        raise BundleError("there are classes, but graphs.decode takes no labels")
    if not signatures.keys() & manifest.graphs.keys():
        raise BundleError(f"graphs has none of {', '.join(signatures)}")
    for name, graph in manifest.graphs.items():
        if not NAME.fullmatch(name):
            raise BundleError(f"graphs has {name!r}, which is no name like {NAME.pattern}")
        inputs, outputs = signatures.get(name, ([], []))
        _check_side(f"graphs.{name}.inputs", inputs, graph.inputs)
        if not graph.inputs:
            raise BundleError(f"graphs.{name}.inputs is empty")
        if name in signatures:
            _check_labels(f"graphs.{name}", graph.inputs[1:], conditional=bool(manifest.classes))
        _check_side(f"graphs.{name}.outputs", outputs, graph.outputs)


def _check_side(where: str, wanted: list[_Tensor], tensors: Sequence[TensorInfo]) -> None:
    found = [(tensor.dtype, tensor.shape) for tensor in tensors]
    if found[: len(wanted)] != wanted:  # more may follow: labels, say
        raise BundleError(f"{where} must be {_signed(wanted)}, got {_signed(found)}")


def _check_labels(where: str, more: Sequence[TensorInfo], *, conditional: bool) -> None:
    """Raises BundleError for a graph that takes more than rows and, of classes, their labels."""
    if not more:
        return
    if [(tensor.dtype, tensor.shape) for tensor in more] != [_LABELS]:
        names = ", ".join(tensor.name for tensor in more)
        raise BundleError(f"{where} wants more than rows and labels, {_signed([_LABELS])}: {names}")
    if not conditional:
        raise BundleError(f"{where} takes labels, but there are no classes")


def _signatures(manifest: Manifest) -> dict[str, tuple[list[_Tensor], list[_Tensor]]]:
    """Inputs and outputs that each graph must begin with, from the sizes the manifest gives."""
    dtype, shape = manifest.item
    item: _Tensor = (dtype, (BATCH, *shape))
    heat: _Tensor = ("float32", (BATCH, *shape[:2]))  # [N, H, W], of vectors [N, D]
    latents: _Tensor = ("float32", (BATCH, manifest.latent.size))
    terms: _Tensor = ("float32", (BATCH, len(manifest.score.terms)))
    return {
        "encode": ([item], [latents]),
        "decode": ([latents], [item]),
        "reconstruct": ([item], [latents, item]),
        "score": ([item], [terms, heat]),
    }


def _signed(tensors: Sequence[_Tensor]) -> str:
    """A signature for a sentence: float32 [N, 64], uint8 [N, 32, 32, 1]."""
    said = [f"{dtype} [{', '.join(map(str, shape))}]" for dtype, shape in tensors]
    return ", ".join(said) or "nothing"
