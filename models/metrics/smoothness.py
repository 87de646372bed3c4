"""How evenly a morph moves: the largest step between neighbouring frames over the mean one.

The question is that of the perceptual path length (Karras et al. 2019, arXiv:1812.04948, section
4.1), the measure is chosen here: a length grows with the contrast of the images, a ratio does not,
and a path that jumps from one mode to another shows as one step that is as long as all together.
"""

from typing import Any

import numpy as np
import numpy.typing as npt


def largest_to_mean_step(paths: npt.NDArray[Any]) -> float:
    """Mean over paths of (largest step / mean step), in 1 .. F - 1; 1 is an even walk.

    F - 1: everything happens between two frames.  Paths that do not move at all do not count.

    Args:
        paths: Features of the frames, [P, F, ...]: pixels, or those of any network; a step is
            the Euclidean distance between neighbouring frames.
    Raises:
        ValueError: no path, or fewer than two frames; or none that moves.
    """
    if paths.ndim < 3 or not paths.size or paths.shape[1] < 2:
        raise ValueError(f"paths must be [P, F, ...] with F > 1, got {paths.shape}")
    frames = paths.reshape(*paths.shape[:2], -1).astype(np.float64)
    steps = np.linalg.norm(np.diff(frames, axis=1), axis=2)
    moving = steps[steps.max(axis=1) > 0]
    if not len(moving):
        raise ValueError("no path moves")
    return float((moving.max(axis=1) / moving.mean(axis=1)).mean())
