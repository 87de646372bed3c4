"""What a run looks like: samples, reconstructions and morphs in one PNG."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from models.datasets.pixels import to_uint8
from models.networks.labelled import told

ROWS = 8
SAMPLES = ROWS * ROWS
PAIRS = 3 * ROWS  # originals, each with its reconstruction to its right
FRAMES = 8  # of a morph, in one row
GAP = 4  # pixels between panels
SMALL = 512  # pixels: pictures lower than this are enlarged


@torch.no_grad()
def drawn(generator: nn.Module, z: Tensor, *, classes: int) -> Tensor:
    """G of the draws [SAMPLES, Z]; of a conditional model each row of the picture is a class."""
    rows = torch.arange(ROWS, device=z.device).repeat_interleave(SAMPLES // ROWS)
    samples: Tensor = told(generator, rows % max(classes, 1))(z)
    return samples


@torch.no_grad()
def draw(
    path: Path, encoder: nn.Module, generator: nn.Module, *, x: Tensor, samples: Tensor
) -> None:
    """Write the picture of E and G at work to `path`.

    Args:
        path: A .png file, replaced whole.
        encoder, generator: In eval mode.
        x: Real images [N, C, H, W], shown again where there are fewer than PAIRS, or vectors
            [N, D].
        samples: SAMPLES of G, of the same codes at every step so that pictures compare.
    """
    if x.dim() == 2:
        return _scatter(path, encoder, generator, x, samples)
    x = x[torch.arange(PAIRS, device=x.device) % len(x)]
    code = encoder(x)
    ends = code[: 2 * ROWS].view(ROWS, 2, -1)
    weight = torch.linspace(0, 1, FRAMES, device=x.device).view(1, -1, 1)
    morphs = torch.lerp(ends[:, :1], ends[:, 1:], weight).flatten(0, 1)
    pairs = torch.stack([x, generator(code)], dim=1).flatten(0, 1)
    panels = [_tiles(samples), _tiles(pairs), _tiles(generator(morphs))]
    gap = np.full((panels[0].shape[0], GAP, panels[0].shape[2]), 128, np.uint8)
    whole = np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)
    zoom = max(1, SMALL // whole.shape[0])
    whole = whole.repeat(zoom, axis=0).repeat(zoom, axis=1)
    partial = path.with_name(f".{path.stem}.partial.png")
    Image.fromarray(_displayable(whole)).save(partial)
    partial.replace(path)


def _tiles(images: Tensor) -> NDArray[np.uint8]:
    """[ROWS * K, C, H, W] as ROWS rows of K pictures."""
    tiles = to_uint8(images).cpu().numpy()
    n, h, w, c = tiles.shape
    rows = tiles.reshape(ROWS, n // ROWS, h, w, c).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(rows.reshape(ROWS * h, n // ROWS * w, c))


def _displayable(whole: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey or RGB; of other channel counts the first is shown."""
    return whole if whole.shape[2] == 3 else whole[..., 0]


@torch.no_grad()
def _scatter(
    path: Path, encoder: nn.Module, generator: nn.Module, x: Tensor, samples: Tensor
) -> None:
    """Vectors: data, samples and reconstructions over their first two dimensions."""
    from matplotlib.figure import Figure  # half a second to import: only who draws waits

    figure = Figure(figsize=(12, 4), layout="constrained")
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    shown = {"data": x, "samples": samples, "reconstructions": generator(encoder(x))}
    for axis, (title, points) in zip(axes, shown.items(), strict=True):
        values = points.cpu().numpy()
        axis.scatter(values[:, 0], values[:, min(1, values.shape[1] - 1)], s=2, alpha=0.5)
        axis.set_title(title)
        axis.set_aspect("equal")
    partial = path.with_name(f".{path.stem}.partial.png")
    figure.savefig(partial, dpi=100)
    partial.replace(path)
