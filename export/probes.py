"""Inputs to try graphs on, made without any data set: samples of G, and noise.

Samples lie where G lives, noise where nothing was ever trained; both are the same every time.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from export.graphs import DecodeGraph, Graph, Pair
from models.networks.labelled import UNLABELLED
from serving.latents import sample

Array = npt.NDArray[Any]


def given(graph: Graph, pair: Pair, rows: int, *, seed: int = 0) -> tuple[Array, ...]:
    """Inputs of `graph`, so many rows each."""
    first = (latents if graph.inputs[0] == "latents" else items)(pair, rows, seed=seed)
    return (first, labels(pair, rows)) if pair.classes else (first,)


def labels(pair: Pair, rows: int) -> npt.NDArray[np.int64]:
    """Of a conditional pair, each label in turn after one that is not known, [rows]."""
    return np.arange(rows) % (pair.classes + 1) + UNLABELLED


def latents(pair: Pair, rows: int, *, seed: int = 0) -> npt.NDArray[np.float32]:
    """Draws of the prior, [rows, Z], as the server draws them."""
    return sample(seed, rows, pair.latent, pair.prior, categorical=pair.categorical)


def items(pair: Pair, rows: int, *, seed: int = 0) -> Array:
    """Images uint8 [rows, H, W, C], or vectors float32 [rows, D]: samples in turn with noise."""
    codes = torch.from_numpy(latents(pair, rows, seed=seed))
    told = [torch.from_numpy(labels(pair, rows))] if pair.classes else []
    with torch.no_grad():
        samples: Array = DecodeGraph(pair)(codes, *told).numpy()
    rng = np.random.Generator(np.random.Philox(key=seed + 1))
    if pair.is_image:
        noise: Array = rng.integers(0, 256, samples.shape, dtype=np.uint8)
    else:
        noise = rng.standard_normal(samples.shape).astype(np.float32)
        if pair.scaling is not None:
            noise = noise * pair.scaling.scale + pair.scaling.shift
    both = samples.copy()
    both[1::2] = noise[1::2]
    return both
