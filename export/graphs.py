"""The graphs of a bundle as torch modules: what is outside the networks is inside the graphs.

| graph       | in                            | out                                       |
|-------------|-------------------------------|-------------------------------------------|
| encode      | images uint8 [N, H, W, C]     | latents float32 [N, Z]                    |
| decode      | latents float32 [N, Z]        | images uint8 [N, H, W, C]                 |
| reconstruct | images                        | latents, reconstructions uint8            |
| score       | images                        | terms float32 [N, T], heat [N, H, W]      |

Those of a conditional pair take labels int64 [N] besides, -1 where nobody knows them.

Vectors are float32 [N, D] on both sides, and so is their heat.  The networks see pixels as
x / 127.5 - 1; an image goes out as round((G(z) + 1) * 127.5), half to even, clipped to 0..255.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.folding import folded
from models.datasets.scaling import Scaling
from models.metrics import residuals
from models.metrics.ssim import C1, C2, window
from models.networks.labelled import UNLABELLED
from models.pairings.judge import JUDGED, Judge
from serving.bundle import Prior

WHITE: Final = 255.0  # the largest grey level


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """E and G with what must be known of them to export them."""

    encoder: nn.Module  # float32 [B, C, H, W] in [-1, 1], or [B, D], to [B, Z]
    generator: nn.Module  # the other way
    shape: tuple[int, ...]  # (H, W, C) of an image, (D,) of a vector
    latent: int  # Z
    prior: Prior
    categorical: int = 0  # of Z; 0 but for a mixed prior
    classes: int = 0  # of a conditional pair, whose networks take labels int64 [B] before all else
    columns: tuple[str, ...] = ()  # names of a vector's numbers
    scaling: Scaling | None = None  # how the networks see vectors
    judge: Judge | None = None  # critics that score too

    @property
    def is_image(self) -> bool:
        """Whether the data are images, not vectors."""
        return len(self.shape) == 3

    def folded(self) -> "Pair":
        """The same pair without BatchNorm; the networks are copies."""
        return replace(
            self,
            encoder=folded(self.encoder),
            generator=folded(self.generator),
            judge=None if self.judge is None else folded(self.judge),
        )


class Pixels(nn.Module):
    """Images: uint8 NHWC outside, grey levels NCHW in the middle, [-1, 1] for the networks."""

    given, rebuilt = "images", "reconstructions"
    terms = ("l1", "l2", "l2s", "peak", "blob", "cycle", "ssim")
    unit = WHITE  # one unit of a residual, in grey levels

    def levels(self, images: Tensor) -> Tensor:
        """uint8 [N, H, W, C] to float32 [N, C, H, W] in 0..255."""
        return images.permute(0, 3, 1, 2).float()

    def inside(self, levels: Tensor) -> Tensor:
        """0..255 to -1..1."""
        return levels / 127.5 - 1.0

    def shown(self, x: Tensor) -> Tensor:
        """What a network gives, as the whole grey levels that a client sees."""
        return ((x + 1.0) * 127.5).round().clamp(0.0, WHITE)

    def outside(self, levels: Tensor) -> Tensor:
        """float32 [N, C, H, W] in 0..255 to uint8 [N, H, W, C]."""
        return levels.to(torch.uint8).permute(0, 2, 3, 1)


class Columns(nn.Module):
    """Vectors: float32 [N, D] outside, shifted and scaled for the networks."""

    given, rebuilt = "vectors", "reconstructions"
    terms = ("l1", "l2", "cycle")
    shift: Tensor
    unit: Tensor  # of a residual, [D]

    def __init__(self, size: int, scaling: Scaling | None) -> None:
        super().__init__()
        shift = torch.zeros(size) if scaling is None else torch.from_numpy(scaling.shift)
        unit = torch.ones(size) if scaling is None else torch.from_numpy(scaling.scale)
        self.scaled = scaling is not None
        self.register_buffer("shift", shift, persistent=False)
        self.register_buffer("unit", unit, persistent=False)

    def levels(self, vectors: Tensor) -> Tensor:
        """The vectors as they are."""
        return vectors

    outside = levels

    def inside(self, vectors: Tensor) -> Tensor:
        """As networks see them."""
        return (vectors - self.shift) / self.unit if self.scaled else vectors

    def shown(self, x: Tensor) -> Tensor:
        """What a network gives, as the table has it."""
        return x * self.unit + self.shift if self.scaled else x


class Graph(nn.Module):
    """What the four graphs have in common; `inputs` and `outputs` name their tensors."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.encoder, self.generator = pair.encoder, pair.generator
        self.data = Pixels() if pair.is_image else Columns(pair.shape[0], pair.scaling)
        self.labels = ("labels",) if pair.classes else ()
        self.eval()

    def encoded(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """E(x), or E(x, y), [N, Z]."""
        codes: Tensor = self.encoder(x) if labels is None else self.encoder(labels, x)
        return codes

    def generated(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """G(z), or G(z, y), as whole grey levels."""
        made = self.generator(z) if labels is None else self.generator(labels, z)
        return self.data.shown(made)


class EncodeGraph(Graph):
    """images -> latents."""

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self.inputs, self.outputs = (self.data.given, *self.labels), ("latents",)
        del self.generator

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """E(x), [N, Z]."""
        data = self.data
        return self.encoded(data.inside(data.levels(images)), labels)


class DecodeGraph(Graph):
    """latents -> images."""

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self.inputs, self.outputs = ("latents", *self.labels), (self.data.given,)
        del self.encoder

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """G(z) as uint8 [N, H, W, C], or float32 [N, D]."""
        return self.data.outside(self.generated(latents, labels))


class ReconstructGraph(Graph):
    """images -> latents, reconstructions."""

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self.inputs = (self.data.given, *self.labels)
        self.outputs = ("latents", self.data.rebuilt)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """E(x) [N, Z] and G(E(x)), shaped and typed as the input."""
        data = self.data
        z = self.encoded(data.inside(data.levels(images)), labels)
        return z, data.outside(self.generated(z, labels))


class ScoreGraph(Graph):
    """images -> terms, heat.

    With r the reconstruction in whole grey levels, as served, and d = (x - r) / 255 signed:
    l1 = mean |d|; l2 = mean d²; l2s = mean (3x3 mean of d)², where edges average only the pixels
    that exist; peak, the largest mean of d², and blob, the largest square of the mean of d, over a
    window of 7x7 pixels (models.metrics.residuals); cycle = mean (E(x) - E(r))²;
    ssim = 1 - SSIM(x, r) as models.metrics.ssim has it; prior = mean E(x)² / 2, under a normal
    prior alone: -log p(E(x)) / Z but for a constant, of a mixed prior without its category;
    heat [N, H, W] = mean of |d| over channels.
    Vectors have d = (x - r) / scale, column by column, |d| [N, D] for heat, and none of the terms
    that look at neighbours: l2s, peak, blob and ssim.
    With critics, their `feature` and `critic` (models.pairings.judge) come last.
    """

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self.inputs, self.outputs = (self.data.given, *self.labels), ("terms", "heat")
        self.normal = pair.prior == "normal"
        self.free = pair.latent - pair.categorical  # numbers that are no category's
        self.dissimilarity = Dissimilarity(pair.shape) if pair.is_image else None
        self.judge = pair.judge

    def forward(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Terms [N, T] in the order of `score_terms`, and heat [N, H, W] or [N, D]."""
        data = self.data
        x = data.levels(images)
        z = self.encoded(data.inside(x), labels)
        r = self.generated(z, labels)
        d = (x - r) / data.unit
        l1, l2 = d.abs().flatten(1).mean(1), d.square().flatten(1).mean(1)
        cycle = (z - self.encoded(data.inside(r), labels)).square().mean(1)
        more = [z[:, : self.free].square().mean(1) / 2.0] if self.normal else []
        if self.judge is not None:
            more += self.judge(data.inside(x), data.inside(r), z)
        if self.dissimilarity is None:
            return torch.stack([l1, l2, cycle, *more], dim=1), d.abs()
        smooth = F.avg_pool2d(d, 3, stride=1, padding=1, count_include_pad=False)
        l2s = smooth.square().flatten(1).mean(1)
        peak = windowed(d.square().mean(1, keepdim=True)).amax((1, 2, 3))
        blob = windowed(d).square().mean(1).amax((1, 2))
        ssim = self.dissimilarity(x / WHITE, r / WHITE)
        return torch.stack([l1, l2, l2s, peak, blob, cycle, ssim, *more], dim=1), d.abs().mean(1)


def windowed(maps: Tensor) -> Tensor:
    """Means under every window that lies inside [N, C, H, W], as models.metrics.residuals has it.

    One way after the other: 14 numbers a pixel, not 49.
    """
    down, across = (residuals.window(side) for side in maps.shape[2:])
    return F.avg_pool2d(F.avg_pool2d(maps, (down, 1), stride=1), (1, across), stride=1)


class Dissimilarity(nn.Module):
    """1 - SSIM (models.metrics.ssim), mean over windows and channels."""

    down: Tensor
    across: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        height, width, self.channels = shape
        for name, side, form in (("down", height, (1, 1, -1, 1)), ("across", width, (1, 1, 1, -1))):
            weights = torch.from_numpy(window(side)).float().reshape(form)
            self.register_buffer(name, weights.repeat(5 * self.channels, 1, 1, 1))

    def forward(self, x: Tensor, r: Tensor) -> Tensor:
        """[N] of float32 [N, C, H, W] in 0..1, and their reconstructions."""
        # all five means under the window in one convolution each way
        maps = torch.cat([x, r, x * x, r * r, x * r], dim=1)
        maps = F.conv2d(
            F.conv2d(maps, self.down, groups=len(self.down)), self.across, groups=len(self.across)
        )
        mean_x, mean_r, square_x, square_r, product = maps.split(self.channels, dim=1)
        both = mean_x * mean_r
        var = square_x - mean_x.square() + square_r - mean_r.square()
        nearness = (2.0 * both + C1) / (mean_x.square() + mean_r.square() + C1)
        alike = nearness * (2.0 * (product - both) + C2) / (var + C2)
        return 1.0 - alike.flatten(1).mean(1)


GRAPHS: Final[Mapping[str, type[Graph]]] = MappingProxyType(
    {
        "encode": EncodeGraph,
        "decode": DecodeGraph,
        "reconstruct": ReconstructGraph,
        "score": ScoreGraph,
    }
)


def score_terms(pair: Pair) -> tuple[str, ...]:
    """Names of the columns of `terms`, in order."""
    terms = Pixels.terms if pair.is_image else Columns.terms
    prior = ("prior",) if pair.prior == "normal" else ()
    return (*terms, *prior, *(JUDGED if pair.judge is not None else ()))


def default_term(pair: Pair) -> str:
    """The term that answers where none is asked: the best single one in trials on many sets."""
    return "l2s" if pair.is_image else "l2"


def build(pair: Pair) -> dict[str, Graph]:
    """The four graphs of a pair, sharing its networks, in eval mode."""
    return {name: graph(pair) for name, graph in GRAPHS.items()}


def example(graph: Graph, pair: Pair, rows: int) -> tuple[Tensor, ...]:
    """Inputs of `graph` with so many rows: mid-grey images, or zeros; no label known."""
    if graph.inputs[0] == "latents":
        first = torch.zeros(rows, pair.latent)
    elif pair.is_image:
        first = torch.full((rows, *pair.shape), 128, dtype=torch.uint8)
    else:
        first = torch.zeros(rows, *pair.shape)
    return (first, torch.full((rows,), UNLABELLED)) if pair.classes else (first,)
