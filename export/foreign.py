"""A pair trained elsewhere, as ONNX files or torch modules, made one that export can write."""

import hashlib
import importlib
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from export import bundle_writer
from export.destination import Destination
from export.errors import BadForeign, BadNetworks
from export.graphs import Pair
from export.onnx_network import OnnxNetwork, first_line, sizes
from export.onnx_writer import OPSET
from serving.bundle import Manifest, Prior

Layout = Literal["nchw", "nhwc"]
LAYOUTS: Final[tuple[Layout, ...]] = ("nchw", "nhwc")
Shape = tuple[int, int, int]  # (H, W, C)
_FUNCTION: Final = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)")
_SIZE: Final = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})x([13])")
_ROWS: Final = 2  # of what is tried on them


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a person says of a pair trained elsewhere."""

    encoder: str  # FILE.onnx or MODULE:FUNCTION
    decoder: str
    low: float  # of a pixel, as the networks see it
    high: float
    layout: Layout
    prior: Prior
    shape: Shape | None = None  # of images, where the networks do not say

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise BadForeign(f"the range must be LOW,HIGH, got {self.low:g},{self.high:g}")


def range_of(text: str) -> tuple[float, float]:
    """LOW,HIGH as two numbers.  Raises BadForeign if it is something else."""
    try:
        low, high = map(float, text.split(","))
    except ValueError as error:
        raise BadForeign(f"the range must be LOW,HIGH, as in -1,1, got {text!r}") from error
    return low, high


def shape_of(text: str) -> Shape:
    """HxWxC as three numbers.  Raises BadForeign if it is something else."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise BadForeign(f"an image must be HxWxC, as in 32x32x3, C 1 or 3, got {text!r}")
    height, width, channels = map(int, found.groups())
    return height, width, channels


def write(
    asked: Asked,
    place: Destination,
    *,
    preprocess: Mapping[str, Any],
    facts: Mapping[str, Any],
    say: Callable[[str], None],
) -> Manifest:
    """Write the bundle of a pair trained elsewhere, compared with the originals as they are.

    Raises:
        BadForeign: the networks cannot be had, do not fit each other, or are not fit to be served.
        ParityFailure: the graphs do not answer as they do; nothing is left on disk.
    """
    pair = read(asked)
    try:
        return bundle_writer.write(
            pair, place, preprocess=preprocess, facts={**facts, "imported": _origin(asked)}, say=say
        )
    except BadNetworks as error:
        raise BadForeign(str(error)) from error


def read(asked: Asked) -> Pair:
    """The pair as export wants it: NCHW in [-1, 1] to codes [B, Z], and back."""
    encoder, decoder = (
        _network(ref, label)
        for ref, label in ((asked.encoder, "encoder"), (asked.decoder, "decoder"))
    )
    shape = _agreed(
        [
            ("--image", asked.shape),
            (asked.encoder, _image(encoder, "given", asked)),
            (asked.decoder, _image(decoder, "made", asked)),
        ]
    )
    height, width, channels = shape
    x = torch.zeros(_ROWS, channels, height, width)
    e = Encoder(encoder, asked)
    z = _tried(asked.encoder, e, x)
    if z.dim() != 2 or len(z) != _ROWS:
        raise BadForeign(f"{asked.encoder} gives {list(z.shape)} for {_ROWS} images, not codes")
    latent = z.shape[1]
    g = _generator(decoder, asked, latent)
    made = _tried(asked.decoder, g, torch.zeros(_ROWS, latent))
    if made.shape != x.shape:
        raise BadForeign(
            f"{asked.decoder} gives {list(made.shape)} for {_ROWS} codes (as NCHW), but "
            f"{asked.encoder} takes {list(x.shape)}"
        )
    return Pair(encoder=e, generator=g, shape=shape, latent=latent, prior=asked.prior)


class Encoder(nn.Module):
    """float32 [B, C, H, W] in [-1, 1] to codes [B, Z], by a network of another range and layout."""

    def __init__(self, network: nn.Module, asked: Asked) -> None:
        super().__init__()
        self.network = network
        self.low, self.unit = asked.low, (asked.high - asked.low) / 2  # unit: what 1 is there
        self.last = asked.layout == "nhwc"

    def forward(self, x: Tensor) -> Tensor:
        """E(x)."""
        if (self.low, self.unit) != (-1.0, 1.0):
            x = (x + 1.0) * self.unit + self.low
        codes = self.network(x.permute(0, 2, 3, 1) if self.last else x)
        return _one_tensor(codes).flatten(1)


class Generator(nn.Module):
    """Codes [B, Z] to float32 [B, C, H, W] in [-1, 1], by a network of another range and layout.

    `code` is the shape in which the network wants a code: (Z,) or (Z, 1, 1).
    """

    def __init__(self, network: nn.Module, asked: Asked, code: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.code = network, code
        self.low, self.unit = asked.low, (asked.high - asked.low) / 2  # unit: what 1 is there
        self.last = asked.layout == "nhwc"

    def forward(self, z: Tensor) -> Tensor:
        """G(z)."""
        x = _one_tensor(self.network(z if len(self.code) == 1 else z.unflatten(1, self.code)))
        if self.last:
            x = x.permute(0, 3, 1, 2)
        if (self.low, self.unit) != (-1.0, 1.0):
            x = (x - self.low) / self.unit - 1.0
        return x


def _network(ref: str, label: str) -> nn.Module:
    """The network that FILE.onnx or MODULE:FUNCTION means."""
    if ref.lower().endswith(".onnx"):
        if not Path(ref).is_file():
            raise BadForeign(f"there is no file {ref}")
        return OnnxNetwork(Path(ref), label=label, opset=OPSET)
    found = _FUNCTION.fullmatch(ref)
    if found is None:
        raise BadForeign(f"--{label} must be FILE.onnx or MODULE:FUNCTION, got {ref!r}")
    here = os.getcwd()
    if here not in sys.path:  # as for `python -m`; the command itself lies elsewhere
        sys.path.insert(0, here)
    try:
        made = getattr(importlib.import_module(found["module"]), found["name"])
        network = made if isinstance(made, nn.Module) else made()
    # Foreign code: whatever it raises is told to whoever named it.
    except Exception as error:
        raise BadForeign(f"{ref}: {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise BadForeign(f"{ref} gives a {type(network).__name__}, not a torch.nn.Module")
    return network.cpu().float().eval()


def _image(network: nn.Module, side: str, asked: Asked) -> tuple[int | None, ...] | None:
    """(H, W, C) as a network's ONNX file says it; None where it says nothing."""
    if not isinstance(network, OnnxNetwork):
        return None
    found = sizes(getattr(network, side))
    if len(found) != 3:
        raise BadForeign(
            f"{network.path}: images of rank 4 are wanted ({asked.layout}), its are "
            f"[N, {', '.join(str(size or '?') for size in found)}]"
        )
    return found if asked.layout == "nhwc" else (*found[1:], found[0])


def _agreed(said: list[tuple[str, tuple[int | None, ...] | None]]) -> Shape:
    """The one image shape that fits all that was said, None standing for anything."""
    agreed: list[int | None] = [None, None, None]
    by = ["", "", ""]
    for who, shape in said:
        for axis, size in enumerate(shape or ()):
            if size is None:
                continue
            if agreed[axis] not in (None, size):
                what = ("height", "width", "channels")[axis]
                raise BadForeign(f"{who} has images of {what} {size}, {by[axis]} of {agreed[axis]}")
            agreed[axis], by[axis] = size, who
    height, width, channels = agreed
    if height is None or width is None or channels is None:
        raise BadForeign("the networks do not say how large images are: give --image HxWxC")
    if channels not in (1, 3):
        raise BadForeign(f"images have 1 or 3 channels, these {channels}: is --layout right?")
    return height, width, channels


def _generator(network: nn.Module, asked: Asked, latent: int) -> Generator:
    """With a code shaped as the network wants it, which a torch module says by trial alone."""
    flat, spatial = (latent,), (latent, 1, 1)
    if isinstance(network, OnnxNetwork):
        found = sizes(network.given)
        code = spatial if len(found) == 3 else flat
        fits = len(found) == len(code) and all(
            one in (None, other) for one, other in zip(found, code, strict=True)
        )
        if not fits:
            raise BadForeign(
                f"{asked.encoder} gives {latent} numbers, but {asked.decoder} takes "
                f"[N, {', '.join(str(size or '?') for size in found)}]"
            )
        return Generator(network, asked, code)
    try:
        _tried(asked.decoder, network, torch.zeros(_ROWS, *flat))
    except BadForeign as error:
        try:
            _tried(asked.decoder, network, torch.zeros(_ROWS, *spatial))
        except BadForeign:
            raise error from None  # of the two the likelier
        return Generator(network, asked, spatial)
    return Generator(network, asked, flat)


def _tried(ref: str, network: nn.Module, x: Tensor) -> Tensor:
    """The network's answer.  Raises BadForeign where it has none."""
    try:
        with torch.no_grad():
            return _one_tensor(network(x))
    except BadForeign:
        raise
    except _NotOne as error:
        raise BadForeign(f"{ref} gives {error}, not one tensor") from error
    # Foreign code again.
    except Exception as error:
        raise BadForeign(f"{ref} does not take {list(x.shape)}: {first_line(error)}") from error


class _NotOne(TypeError):
    """A network gives something else than one tensor; the message says what."""


def _one_tensor(made: object) -> Tensor:
    if not isinstance(made, Tensor):
        raise _NotOne(f"a {type(made).__name__}")
    return made


def _origin(asked: Asked) -> dict[str, Any]:
    """What the manifest says of where the pair came from; no folder of this machine."""
    origin: dict[str, Any] = {"range": [asked.low, asked.high], "layout": asked.layout}
    for what, ref in (("encoder", asked.encoder), ("decoder", asked.decoder)):
        path = Path(ref)
        if ref.lower().endswith(".onnx"):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            origin[what] = {"file": path.name, "sha256": digest}
        else:
            origin[what] = {"function": ref}
    return origin
