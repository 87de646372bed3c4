"""Figures of the latent side: where codes lie, whether they come back, how evenly morphs move."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from export.features import as_pixels
from export.work import Work
from models.metrics import classifier
from models.metrics.latent_cycle import latent_cycle
from models.metrics.latent_match import ks_statistics, mmd_to_prior
from models.metrics.latent_moments import PRIOR_MOMENTS, latent_moments
from models.metrics.smoothness import largest_to_mean_step
from models.networks.labelled import told
from serving.latents import path

Images = npt.NDArray[np.uint8]
Json = dict[str, Any]

FRAMES: Final = 12  # from one image to another
PRIOR_ROWS: Final = 2000  # codes whose discrepancy to the prior is measured
CYCLES: Final = 2000  # codes decoded and encoded again
ROWS: Final = 256  # codes per forward pass
MORPHS: Final = 48  # from one test image to another


def codes(work: Work) -> Json:
    """How E(x) of the test part lies beside the prior, dimension by dimension and together."""
    moments = latent_moments(work.free)
    prior = work.subject.prior
    mean, std = PRIOR_MOMENTS[prior]
    ks = ks_statistics(work.free, prior=prior)
    figures: Json = {
        "mean": list(moments.mean_range),
        "std": list(moments.std_range),
        "prior": {"mean": mean, "std": std},
        "ks": {
            "mean": float(ks.mean()),
            "largest": float(ks.max()),
            "of_prior": float(np.sqrt(np.pi / 2) * np.log(2) / np.sqrt(len(work.codes))),
        },
    }
    rows = min(PRIOR_ROWS, len(work.codes))
    if rows > 1:
        draws = work.latents(2 * rows)
        figures["mmd"] = {
            "rows": rows,
            "codes": mmd_to_prior(codes=work.codes[:rows], prior_draws=draws[:rows]),
            "prior": mmd_to_prior(codes=draws[rows:], prior_draws=draws[:rows]),
        }
    return figures


def cycle(work: Work) -> Json:
    """|z - E(G(z))|^2 after 8-bit rounding, and before it where the networks are at hand."""
    work.watch.say(f"decoding and encoding {CYCLES:,} codes")
    latents = work.latents(CYCLES)
    found = work.encode(work.samples(CYCLES))
    figures: Json = {
        "count": CYCLES,
        "rounded": latent_cycle(latents=latents, found=found),
        "another": latent_cycle(latents=np.roll(latents, 1, axis=0), found=found),
        "variance": PRIOR_MOMENTS[work.subject.prior][1] ** 2,
    }
    if work.subject.pair is not None:
        figures["float"] = latent_cycle(latents=latents, found=_unrounded(work, latents))
    return figures


def morphs(work: Work) -> Json | None:
    """How evenly morphs between test images move, beside cross-fades between the same ends."""
    ends = work.codes[work.picked(2 * MORPHS)]
    ends = ends[: len(ends) // 2 * 2].reshape(-1, 2, work.subject.latent)
    if not len(ends):
        return None
    work.watch.say(f"morphing between {2 * len(ends)} images")
    frames = morph(work, ends).reshape(len(ends), FRAMES, *work.subject.spec.shape)
    faded = _crossfades(frames)
    if not (frames[:, 0] != frames[:, -1]).any():  # G gives the same image for every code
        return None
    figures: Json = {
        "paths": len(ends),
        "frames": FRAMES,
        "pixels": _steps(frames, as_pixels),
        "pixels_fade": _steps(faded, as_pixels),
    }
    judge = work.judge
    if judge is not None:

        def seen(images: Images) -> npt.NDArray[np.float32]:
            return classifier.features(judge, images)

        figures |= {"classifier": _steps(frames, seen), "classifier_fade": _steps(faded, seen)}
    return figures


def morph(work: Work, ends: npt.NDArray[np.float32]) -> Images:
    """FRAMES images from one code to the other for each pair of `ends` [P, 2, Z], all in a row."""
    if not len(ends):
        return np.empty((0, *work.subject.spec.shape), np.uint8)
    subject = work.subject
    between = [
        path(pair, FRAMES, prior=subject.prior, categorical=subject.categorical) for pair in ends
    ]
    return work.decode(np.concatenate(between))


@torch.no_grad()
def _unrounded(work: Work, latents: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """E(G(z)) in floating point: no image has been made of G(z)."""
    pair = work.subject.pair
    assert pair is not None
    encoder, generator = told(pair.encoder, None), told(pair.generator, None)
    parts = [
        encoder(generator(torch.from_numpy(latents[i : i + ROWS])))
        for i in range(0, len(latents), ROWS)
    ]
    return torch.cat(parts).numpy()


def _crossfades(frames: Images) -> Images:
    """Straight mixtures of the first and last frame of each path [P, F, ...]."""
    t = np.linspace(0, 1, frames.shape[1]).reshape(1, -1, 1, 1, 1)
    mixed = (1 - t) * frames[:, :1] + t * frames[:, -1:]
    return np.rint(mixed).astype(np.uint8)


def _steps(frames: Images, encode: Any) -> float:
    flat = frames.reshape(-1, *frames.shape[2:])
    features = encode(flat)
    return largest_to_mean_step(features.reshape(*frames.shape[:2], -1))
