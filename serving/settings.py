"""What a person may set about the server: read once from the environment, frozen, checked."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from serving import security
from serving.engine import DEVICES, Device
from serving.security import Key

LogFormat = Literal["text", "json"]
Exporter = Literal["otlp"]
BUNDLES: Final = Path(__file__).resolve().parent / "bundles"  # the models that ship


class BadSetting(ValueError):
    """A setting is malformed or out of range; the message names its environment variable."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The server's settings.  Each is the environment variable BIJECT_<NAME> of `VARIABLES`."""

    models: Path = BUNDLES  # a folder of NAME/VERSION bundles, or one bundle
    default: str | None = None  # what the name `default` means; None: the first model by name
    device: Device = "auto"
    api_keys: tuple[str | Key, ...] = ()  # kept as hashes; none: everybody may ask
    admin_keys: tuple[str | Key, ...] = ()  # the same; none: nobody may load and unload models
    rate_limit: float | None = None  # images a second that each API key may have
    max_body_bytes: int = 64 * 2**20
    max_images: int = 4_096  # per request, in and out
    max_pixels: int = 64_000_000  # per image
    max_frames: int = 256  # per morph
    queue_images: int = 16_384
    deadline_ms: int = 30_000
    cors_origins: tuple[str, ...] = ()
    workers: int = 1  # processes
    max_models: int = 0  # bundles loaded at a time, per process; 0: all there are
    max_model_bytes: int = 0  # that loaded bundles may take together; 0: what there is
    threads: int = 0  # engine threads per process on a CPU; 0: one per usable core
    cache: Path | None = None  # folder for measured costs of batches; None: the user's cache
    log: LogFormat = "text"
    access_log: bool = False
    tracing: Exporter | None = None  # where traces go

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if getattr(self, name) < 1:
                raise BadSetting(f"{VARIABLES[name]} must be at least 1, got {getattr(self, name)}")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise BadSetting(f"{VARIABLES[name]} must be 0 or more, got {getattr(self, name)}")
        if self.queue_images < self.max_images:
            raise BadSetting(
                f"{VARIABLES['queue_images']} ({self.queue_images}) must not be below "
                f"{VARIABLES['max_images']} ({self.max_images})"
            )
        for name in ("api_keys", "admin_keys"):
            try:
                object.__setattr__(self, name, security.keys(getattr(self, name)))
            except ValueError as error:
                raise BadSetting(f"{VARIABLES[name]}: {error}") from None
        self._check_rate()
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in known:
                raise BadSetting(
                    f"{VARIABLES[name]} must be one of {', '.join(known)}, got {value!r}"
                )

    def _check_rate(self) -> None:
        if self.rate_limit is None:
            return
        name = VARIABLES["rate_limit"]
        if not (math.isfinite(self.rate_limit) and self.rate_limit > 0):
            raise BadSetting(f"{name} must be above 0, got {self.rate_limit:g}")
        if not self.api_keys:
            raise BadSetting(f"{name} limits each key, and {VARIABLES['api_keys']} has none")

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """The settings that `environ` gives; what it leaves out, or leaves empty, is as above.

        Raises:
            BadSetting: a value is no number, out of range, or not among the choices.
        """
        values: dict[str, Any] = {}
        for name, variable in VARIABLES.items():
            text = environ.get(variable, "").strip()
            if not text:
                continue
            if name in _INTEGERS:
                values[name] = _integer(variable, text)
            elif name == "rate_limit":
                values[name] = _number(variable, text)
            elif name == "access_log":
                values[name] = _yes(variable, text)
            elif name in _LISTS:
                values[name] = tuple(part.strip() for part in text.split(",") if part.strip())
            else:
                values[name] = Path(text).expanduser() if name in _PATHS else text
        return cls(**values)


_NAMES: Final = (
    "models", "default", "device", "api_keys", "admin_keys", "rate_limit", "max_body_bytes",
    "max_images", "max_pixels", "max_frames", "queue_images", "deadline_ms", "cors_origins",
    "workers", "max_models", "max_model_bytes", "threads", "cache", "log", "access_log", "tracing",
)  # fmt: skip
VARIABLES: Final[Mapping[str, str]] = {name: f"BIJECT_{name.upper()}" for name in _NAMES}
CHOICES: Final[Mapping[str, Sequence[str]]] = {
    "device": DEVICES,
    "log": get_args(LogFormat),
    "tracing": get_args(Exporter),
}
_POSITIVE: Final = (
    "max_body_bytes", "max_images", "max_pixels", "max_frames", "queue_images", "deadline_ms",
    "workers",
)  # fmt: skip
_NOT_NEGATIVE: Final = ("max_models", "max_model_bytes", "threads")  # 0 has a meaning of its own
_INTEGERS: Final = (*_POSITIVE, *_NOT_NEGATIVE)
_PATHS: Final = ("models", "cache")
_LISTS: Final = ("api_keys", "admin_keys", "cors_origins")


def _integer(variable: str, text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise BadSetting(f"{variable} must be a whole number, got {text!r}")
    return int(text)


def _number(variable: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadSetting(f"{variable} must be a number, got {text!r}") from None


def _yes(variable: str, text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}
    if text.lower() not in words:
        raise BadSetting(f"{variable} must be true or false, got {text!r}")
    return words[text.lower()]
