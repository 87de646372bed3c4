"""What a trained pair is worth: figures of samples and both cycles, and when it has collapsed."""

import base64
import io
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from models.config import ModelConfig
from models.datasets.dataset import Dataset
from models.datasets.pixels import to_float, to_uint8
from models.metrics import classifier
from models.metrics.coverage import class_shares
from models.metrics.density_coverage import density_coverage
from models.metrics.frechet import frechet_distance
from models.metrics.latent_cycle import latent_cycle
from models.metrics.latent_match import ks_statistics
from models.metrics.reconstruction import mean_absolute_error
from models.metrics.two_sample import two_sample_accuracy
from models.training.batches import draw_prior
from serving.latents import slerp

Images = NDArray[np.uint8]
Figures = dict[str, Any]
CPU: Final = torch.device("cpu")
ROWS: Final = 2500  # of each set: more than two for each of the 1,024 features
FOUND: Final = 0.01  # share of the samples from which a class counts as found
SHOWN: Final = 10  # samples drawn, and half as many images with what comes back of them
# set before anything was trained
LEAST_COVERAGE: Final = 0.1
LEAST_CLASSES: Final = 5
MOST_APART: Final = 0.95


class Crowd(NamedTuple):
    """What the classifier makes of images [N, H, W, C]."""

    images: Images
    features: NDArray[np.float32]  # [N, D]
    probabilities: NDArray[np.float32]  # [N, K]


class Judge:
    """A classifier trained on real images, and held-out ones to compare with."""

    def __init__(self, train: Dataset, held_out: Dataset, *, steps: int) -> None:
        """Train the classifier for so many steps.  Raises ValueError for data without labels."""
        if train.labels is None or held_out.labels is None:
            raise ValueError("the judge is a classifier: it needs labels")
        self._eye = classifier.train(
            images=train.images, labels=train.labels, classes=len(train.classes), steps=steps
        )
        rows = min(ROWS, len(held_out), len(train))
        held_out = held_out.limited(rows)
        self.real, self.labels = self._look(held_out.images), held_out.labels
        self._sharpness = _contrast(self.real.images)
        self.floor = self._likeness(self._look(train.limited(rows).images))
        self.floor["accuracy"] = float((self._classes(self.real) == self.labels).mean())

    @torch.no_grad()
    def figures(
        self, encoder: nn.Module, generator: nn.Module, model: ModelConfig, *, encodes: bool
    ) -> Figures:
        """Of E and G in eval mode; where E was not trained, of samples alone."""
        z = draw_prior(model, len(self.real.images), torch.Generator().manual_seed(0), CPU)
        samples = self._look(to_uint8(_run(generator, z)))
        found = self._likeness(samples)
        if not encodes:
            return found
        codes = _run(encoder, to_float(torch.from_numpy(self.real.images)))
        again = self._look(to_uint8(_run(generator, codes)))
        # what a client gets of G(z) is 8 bits a pixel
        back = _run(encoder, to_float(torch.from_numpy(samples.images)))
        halfway = self._look(to_uint8(_run(generator, _middles(codes))))
        return found | {
            "l1": mean_absolute_error(images=self.real.images, reconstructions=again.images),
            "kept": float((self._classes(again) == self.labels).mean()),
            "cycle": latent_cycle(latents=z.numpy(), found=back.numpy()),
            "ks": float(ks_statistics(codes.numpy(), prior=model.prior).mean()),
            "halfway": frechet_distance(real=self.real.features, samples=halfway.features),
        }

    @torch.no_grad()
    def strip(
        self, encoder: nn.Module, generator: nn.Module, model: ModelConfig, *, encodes: bool
    ) -> str:
        """A row of samples, then of real images each with G(E(x)) beside it: a PNG in base64."""
        z = draw_prior(model, SHOWN, torch.Generator().manual_seed(0), CPU)
        tiles = [*to_uint8(generator(z)).numpy()]
        x = self.real.images[: SHOWN // 2]
        if encodes:
            again = to_uint8(generator(encoder(to_float(torch.from_numpy(x))))).numpy()
            for pair in zip(x, again, strict=True):
                tiles += pair
        file = io.BytesIO()
        Image.fromarray(np.concatenate(tiles, axis=1).squeeze(-1)).save(file, "PNG", optimize=True)
        return base64.b64encode(file.getvalue()).decode()

    def _look(self, images: Images | Tensor) -> Crowd:
        pixels = images.numpy() if isinstance(images, Tensor) else images
        pixels = np.ascontiguousarray(pixels)
        eye = self._eye
        return Crowd(
            pixels, classifier.features(eye, pixels), classifier.probabilities(eye, pixels)
        )

    def _likeness(self, samples: Crowd) -> Figures:
        """How like the held-out images these are."""
        real, theirs = self.real.features, samples.features
        shares = class_shares(samples.probabilities)
        return {
            "frechet": frechet_distance(real=real, samples=theirs),
            "coverage": density_coverage(real=real, samples=theirs).coverage,
            "classes": int((shares >= FOUND).sum()),
            "largest": float(shares.max()),
            "apart": two_sample_accuracy(real=real, samples=theirs).samples,
            "sharpness": _contrast(samples.images) / self._sharpness,
        }

    @staticmethod
    def _classes(crowd: Crowd) -> NDArray[np.intp]:
        best: NDArray[np.intp] = crowd.probabilities.argmax(axis=1)
        return best


def collapsed(figures: Mapping[str, Any]) -> list[str]:
    """The rules by which these figures are those of a collapse; none: it has not collapsed."""
    rules = {
        "coverage": figures["coverage"] < LEAST_COVERAGE,
        "classes": figures["classes"] < LEAST_CLASSES,
        "1-NN": figures["apart"] > MOST_APART,
    }
    return [name for name, broken in rules.items() if broken]


def _run(network: nn.Module, rows: Tensor) -> Tensor:
    """`network` of all rows, some at a time."""
    return torch.cat([network(part) for part in rows.split(500)])


def _middles(codes: Tensor) -> Tensor:
    """Half of the way from each code [N, Z] to the next."""
    ends = codes.numpy()
    middles = [slerp(a, b, [0.5]) for a, b in zip(ends, np.roll(ends, 1, axis=0), strict=True)]
    return torch.from_numpy(np.concatenate(middles))


def _contrast(images: Images) -> float:
    """Mean absolute Laplacian of images [N, H, W, C]: of blurred ones it is small."""
    x = images.astype(np.float32)
    centre = x[:, 1:-1, 1:-1]
    around = x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]
    return float(np.abs(around - 4 * centre).mean())
