"""The training config: TOML on disk, frozen dataclasses in memory, JSON in the run directory."""

import math
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

from models.errors import BadConfig, UnknownName

Prior = Literal["normal", "uniform"]
Minibatch = Literal["none", "std", "kernel"]
Upsampling = Literal["transposed", "nearest", "bilinear"]
Scales = Literal["auto", "none", "standard", "range"]
Optimiser = Literal["adam", "rmsprop", "adamax"]
STOCHASTIC: Final = ("ali", "vaegan")  # pairings whose E is a Gaussian
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Which data, and how its images are brought to the model's size."""

    path: str = "digits"  # a folder, .zip, .npz, .csv, idx, `digits`, `toy:NAME`
    classes: tuple[str, ...] | None = None  # None: all of them
    limit: int | None = None  # at most so many images
    holdout: float = 0.1  # share that is never trained on
    group: str | None = None  # array of an .npz: items with the same entry stay on one side
    flip: bool = False  # train on mirror images too
    crops: int = 0  # of each image so many random parts of the model's size; 0: the whole, fitted
    fit: Literal["stretch", "pad", "crop"] = "stretch"
    background: int = 255  # grey level around a padded image
    label: str = ""  # of a table: the column that names each row's class
    drop: tuple[str, ...] = ()  # columns of a table that are left out
    scaling: Scales = "auto"  # of vectors; auto: standard, of a toy density none
    test: float = 0.0  # share of a table without a test part that is one
    split: int = 0  # seed of that division
    licence: str = ""  # of the data; written into the model's card

    def __post_init__(self) -> None:
        _require(0 <= self.holdout < 1, f"data.holdout must be in [0, 1), got {self.holdout}")
        _require(self.limit is None or self.limit > 0, "data.limit must be positive")
        _require(self.crops >= 0, "data.crops must be 0 (whole images) or more")
        _require(not (self.crops and self.group), "data.crops keeps each image's parts on one side")
        _require(0 <= self.background <= 255, "data.background must be in 0..255")
        _require(0 <= self.test < 1, f"data.test must be in [0, 1), got {self.test}")
        _require(0 <= self.split < 2**63, "data.split must be in 0 .. 2^63 - 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The networks and the game they play."""

    pairing: str = "aegan"
    objective: str = "gan"
    network: str = "dcgan"
    image: tuple[int, int, int] | None = None  # height, width, channels
    vector: int | None = None  # D, for data without pixels
    latent: int = 64  # Z
    prior: Prior = "normal"
    categorical: int = 0  # the last so many of Z are 1 for one category, 0 for others; 0: none
    classes: int = 0  # whose label E, G and critics are told; 0: the model is not conditional
    width: int = 64  # channels of the layer next to the image; units of an mlp's layers
    upsampling: Upsampling = "transposed"  # of dcgan's G; see its module
    critic_width: int = 0  # the same of the critics; 0: as width
    critic_norm: Literal["none", "spectral"] = "none"
    critic_minibatch: Minibatch = "none"  # what critics of items and pairs see of a whole batch
    encoder_norm: Literal["none", "spectral"] = "none"  # spectral: as alad's authors hold E
    # of a critic of codes; same: as critic_norm
    latent_critic_norm: Literal["same", "none", "spectral"] = "same"

    def __post_init__(self) -> None:
        _require(
            (self.image is None) != (self.vector is None),
            "[model] needs either image = [height, width, channels] or vector = D",
        )
        _require(self.image is None or min(self.image) > 0, "model.image must be positive")
        _require(self.vector is None or self.vector > 0, "model.vector must be positive")
        _require(self.latent > 0, f"model.latent must be positive, got {self.latent}")
        _require(
            self.categorical == 0 or 2 <= self.categorical < self.latent,
            f"model.categorical must be 0, or 2 or more and below model.latent ({self.latent})",
        )
        _require(self.classes != 1 and self.classes >= 0, "model.classes must be 0, or 2 or more")
        _require(self.width > 0, f"model.width must be positive, got {self.width}")
        _require(self.critic_width >= 0, "model.critic_width must be 0 (as width) or more")

    @property
    def stochastic(self) -> bool:
        """Whether E gives a mean and a spread per item; its mean is what is served."""
        return self.pairing in STOCHASTIC


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How long and how fast."""

    steps: int = 20_000  # updates of G and E
    batch: int = 64  # images per update
    lr: float = 2e-4  # of G and E
    critic_lr: float = 2e-4
    lr_decay: float = 0.0  # last share of the steps over which both rates fall linearly to 0
    optimiser: Optimiser = "adam"
    critic_optimiser: Literal[Optimiser, "same"] = "same"  # same: as optimiser
    betas: tuple[float, float] = (0.5, 0.999)  # of Adam and Adamax
    critic_steps: int = 1  # critic updates per update of G and E
    ema: float = 0.999  # decay of the averaged weights that are exported
    seed: int = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: fp32
    compile: bool = False  # torch.compile
    threads: int = 0  # of torch on the CPU; 0: every core this process may use
    log_every: int = 50  # steps
    sample_every: int = 500
    checkpoint_every: int = 1000
    polish: int = 0  # last steps, in which E learns by residuals while G and critics are frozen
    polish_feature: float = 1.0  # in them: of the error in a critic's features; that in x weighs 1
    unlabelled: float = 0.1  # share of a conditional model's items that go without their label
    keep: int = 2  # newest checkpoints kept

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "critic_steps", "log_every", "sample_every"):
            _require(getattr(self, name) > 0, f"train.{name} must be at least 1")
        _require(self.batch > 1, "train.batch must be at least 2: BatchNorm needs a batch")
        _require(self.checkpoint_every > 0, "train.checkpoint_every must be at least 1")
        _require(self.keep > 0, "train.keep must be at least 1")
        _require(self.threads >= 0, "train.threads must be 0 (all cores) or more")
        _require(self.lr > 0 and self.critic_lr > 0, "learning rates must be positive")
        _require(0 <= self.lr_decay <= 1, "train.lr_decay must be in [0, 1]")
        _require(0 <= self.ema < 1, f"train.ema must be in [0, 1), got {self.ema}")
        _require(all(0 <= b < 1 for b in self.betas), "train.betas must be in [0, 1)")
        _require(
            0 <= self.polish < self.steps,
            f"train.polish must leave steps to what is polished: 0..{self.steps - 1}, "
            f"got {self.polish}",
        )
        _require(0 < self.unlabelled < 1, "train.unlabelled must be above 0 and below 1")
        _require(self.polish_feature >= 0, "train.polish_feature must not be negative")
        _require(0 <= self.seed < 2**63, "train.seed must be in 0 .. 2^63 - 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """All that one run needs; `config.json` of a run holds it resolved."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig
    objective: Mapping[str, Any] = field(default_factory=dict)  # settings of model.objective
    # a pairing's own terms: numbers, or { from, to, steps, after }
    weights: Mapping[str, float | Mapping[str, float]] = field(default_factory=dict)
    regularisers: Mapping[str, Any] = field(default_factory=dict)  # name = weight or table
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        for name in ("group", "flip", "crops"):
            asked = self.model.vector is not None and getattr(self.data, name)
            _require(not asked, f"data.{name} is for images, not for vectors")
        for name in ("label", "drop", "test", "split"):
            asked = self.model.image is not None and getattr(self.data, name)
            _require(not asked, f"data.{name} is for vectors, not for images")

    @classmethod
    def read(cls, path: Path, overrides: Sequence[str] = ()) -> Self:
        """The config in a TOML file, with `section.key=value` overrides applied to it."""
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadConfig(f"{path} cannot be read: {error.strerror or error}") from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise BadConfig(f"{path} cannot be read as TOML: {error}") from error
        for override in overrides:
            _apply(tables, override)
        return cls.from_dict(tables)

    @classmethod
    def from_dict(cls, tables: Mapping[str, Any]) -> Self:
        """The config in nested mappings; an unknown key is refused, the known ones listed."""
        known = {f.name for f in fields(cls)}
        for name, table in tables.items():
            if name not in known:
                raise UnknownName("config section", name, known)
            _require(isinstance(table, Mapping), f"[{name}] must be a table")
        return cls(
            data=filled(DataConfig, "data", tables.get("data", {})),
            model=filled(ModelConfig, "model", tables.get("model", {})),
            objective=dict(tables.get("objective", {})),
            weights={
                key: _weight(f"weights.{key}", v) for key, v in tables.get("weights", {}).items()
            },
            regularisers=dict(tables.get("regularisers", {})),
            train=filled(TrainConfig, "train", tables.get("train", {})),
        )

    def changed(self, overrides: Sequence[str]) -> Self:
        """This config with `section.key=value` overrides applied to it."""
        tables = self.to_dict()
        for override in overrides:
            _apply(tables, override)
        return type(self).from_dict(tables)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values that `from_dict` turns back into an equal config."""
        return asdict(self)


def _apply(tables: dict[str, Any], override: str) -> None:
    """Set one `section.key=value` in place; the value is TOML, bare words are strings."""
    path, equals, text = override.partition("=")
    section, dot, key = path.strip().partition(".")
    _require(bool(equals and dot and key), f"--set takes section.key=value, got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table = tables.setdefault(section, {})
    _require(isinstance(table, dict), f"[{section}] must be a table")
    table[key] = value


def filled(kind: type[_T], name: str, table: Mapping[str, Any]) -> _T:
    """The dataclass `kind` filled from a table, every value checked against its annotation."""
    hints = typing.get_type_hints(kind)
    for key in table:
        if key not in hints:
            raise UnknownName(f"[{name}] key", key, hints)
    return kind(**{k: _typed(f"{name}.{k}", v, hints[k]) for k, v in table.items()})


def _typed(name: str, value: Any, hint: Any) -> Any:
    """`value` as `hint` wants it: lists become tuples, whole numbers become floats."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _typed(name, value, next(a for a in arguments if a is not types.NoneType))
    if origin is Literal:
        if value not in arguments:
            raise UnknownName(name, str(value), map(str, arguments))
        return value
    if origin is tuple:
        _require(isinstance(value, (list, tuple)), f"{name} must be a list, got {value!r}")
        if arguments[-1] is Ellipsis:
            return tuple(_typed(name, item, arguments[0]) for item in value)
        _require(len(value) == len(arguments), f"{name} takes {len(arguments)} values: {value!r}")
        return tuple(_typed(name, item, a) for item, a in zip(value, arguments, strict=True))
    if hint is float:
        return _number(name, value)
    right = isinstance(value, hint) and not (hint is int and isinstance(value, bool))
    _require(right, f"{name} must be of type {hint.__name__}, got {value!r}")
    return value


def _weight(name: str, value: Any) -> float | dict[str, float]:
    if isinstance(value, Mapping):
        return {key: _number(f"{name}.{key}", v) for key, v in value.items()}
    return _number(name, value)


def _number(name: str, value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    _require(is_number and math.isfinite(value), f"{name} must be a finite number, got {value!r}")
    return float(value)


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise BadConfig(sentence)
