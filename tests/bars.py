"""Bars: small data with two parts, three classes, and pictures of another kind; a run on it."""

from pathlib import Path

import numpy as np
import torch

from models.config import Config
from models.training.loop import Run, read_data

SHAPE = (16, 16, 1)


def bars(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 16, 16] of one bright bar, whose row is the class, and labels as bytes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows).astype(np.uint8)
    images = rng.integers(0, 40, (rows, *SHAPE[:2]), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 + 5 * int(label)] += np.uint8(200)
    return images, labels


def write_data(path: Path) -> Path:
    """parts.npz (train and test), single.npz (no test part), bare.npz (no labels), noise.npz."""
    train, train_labels = bars(120, seed=0)
    test, test_labels = bars(60, seed=1)
    np.savez(
        path / "parts.npz", train_images=train, train_labels=train_labels,
        test_images=test, test_labels=test_labels,
    )  # fmt: skip
    np.savez(path / "single.npz", images=train, labels=train_labels)
    np.savez(path / "bare.npz", train_images=train, test_images=test)
    noise = np.random.default_rng(2).integers(0, 256, (50, *SHAPE[:2]), np.uint8)
    np.savez(path / "noise.npz", images=noise)
    return path


def config(data: Path) -> Config:
    return Config.from_dict(
        {
            "data": {"path": str(data), "holdout": 0.25},
            "model": {"image": list(SHAPE), "latent": 4, "width": 4, "critic_norm": "spectral"},
            "train": {"steps": 3, "seed": 5, "batch": 8, "threads": 1, "checkpoint_every": 3},
        }
    )


def make_run(out: Path, data: Path) -> Path:
    """A run of three steps on single.npz; a quarter of its images is held out."""
    torch.set_num_threads(1)
    chosen = config(data / "single.npz")
    training = Run(out, chosen, read_data(chosen), torch.device("cpu"))
    training.begin("biject train bars.toml")
    for _ in training.steps():
        pass
    return out
