"""A small convolutional classifier, trained in a minute: an eye for what class a picture shows.

It is a measuring tool, not a record: what counts is that it is the same for real images and for
samples.
"""

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.datasets.pixels import to_float

Images = npt.NDArray[np.uint8]
Track = Callable[[range], Iterable[int]]

WIDTH = 16  # channels of the first layer
SMALLEST_SIDE = 4  # pixels: halving stops there
BATCH = 128  # images per step
LR = 3e-3  # of Adam, falling to 0 along a half cosine


class Classifier(nn.Module):
    """Strided 3x3 convolutions with BatchNorm, then one linear layer."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        height, width, channels = shape
        layers: list[nn.Module] = []
        after = WIDTH
        while min(height, width) > SMALLEST_SIDE or not layers:
            layers += [
                nn.Conv2d(channels, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
            height, width = -(-height // 2), -(-width // 2)
            channels, after = after, min(2 * after, 8 * WIDTH)
        head = nn.Linear(channels * height * width, classes)
        self.layers = nn.Sequential(*layers, nn.Flatten(), head)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, K] of images [B, C, H, W]."""
        logits: Tensor = self.layers(x)
        return logits


def train(
    *,
    images: Images,
    labels: npt.NDArray[np.int64],
    classes: int,
    seed: int = 0,
    steps: int = 1500,
    batch: int = BATCH,
    track: Track = iter,
) -> Classifier:
    """A classifier of `classes` classes, trained on images uint8 [N, H, W, C] with labels [N].

    The same seed, data and machine give the same classifier.  `track` may show a progress bar.
    Raises ValueError if there are no images, or a label is outside 0 .. classes - 1.
    """
    if not len(images) or labels.shape != (len(images),):
        raise ValueError(f"{len(images)} images with labels of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must be in 0..{classes - 1}")
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Classifier(images.shape[1:], classes)
    optimiser = torch.optim.Adam(network.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=steps)
    network.train()
    for _ in track(range(steps)):
        rows = rng.integers(len(images), size=batch)
        loss = F.cross_entropy(network(_inside(images[rows])), torch.from_numpy(labels[rows]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def probabilities(classifier: Classifier, images: Images) -> npt.NDArray[np.float32]:
    """Class probabilities [N, K] of images uint8 [N, H, W, C]."""
    parts = [
        classifier(_inside(images[start : start + 512])).softmax(dim=1)
        for start in range(0, len(images), 512)
    ]
    return torch.cat(parts).numpy()


@torch.no_grad()
def features(classifier: Classifier, images: Images) -> npt.NDArray[np.float32]:
    """What the last linear layer sees, [N, D], of images uint8 [N, H, W, C]."""
    parts = [
        classifier.layers[:-1](_inside(images[start : start + 512]))
        for start in range(0, len(images), 512)
    ]
    return torch.cat(parts).numpy()


def _inside(images: Images) -> Tensor:
    return to_float(torch.from_numpy(images))
