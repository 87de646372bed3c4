"""Does E find the code that an image was made from?  |z - E(G(z))|, the other half of inversion.

A generator can write z into pixels too faintly to see, for E to read (Chu et al. 2017,
arXiv:1712.02950); such writing is lost in 8 bits.  So measure it twice: on what G gives, and on
the rounded image that a client gets.
"""

from typing import Any

import numpy as np
import numpy.typing as npt


def latent_cycle(*, latents: npt.NDArray[Any], found: npt.NDArray[Any]) -> float:
    """Mean (z - E(G(z)))^2 over all codes and dimensions, in the latent's unit squared.

    0: every code comes back.  An E that gives 0 always has the prior's variance (1 if normal,
    1/3 if uniform); one that gives some other code of the prior, twice that.

    Args:
        latents: z, [N, Z].
        found: E(G(z)), [N, Z].
    Raises:
        ValueError: the two differ in shape or are empty.
    """
    if latents.shape != found.shape or not latents.size:
        raise ValueError(f"latents {latents.shape}, found {found.shape}")
    return float(np.square(latents.astype(np.float64) - found.astype(np.float64)).mean())
