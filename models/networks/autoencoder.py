"""Critics that rebuild a pair (x, z): what they rebuild badly has a high energy.

The idea is Zhao, Mathieu and LeCun 2017 (EBGAN), arXiv:1609.03126, section 2.1; on pairs it is
ours.  The bottleneck is as wide as a code: a pair whose x and z belong together, x = G(z), is told
by z alone, so no wider one is needed, and through a wider one anything would pass.
"""

from torch import Tensor, nn

from models.networks.blocks import SLOPE
from models.networks.heads import Rebuilt
from models.networks.joint import PairFeatures


class PairAutoencoder(PairFeatures):
    """Pairs to a bottleneck [B, Z] and back; `decoder` gives x from it."""

    def __init__(
        self,
        x_features: nn.Module,
        x_size: int,
        *,
        latent: int,
        width: int,
        joint: int,
        decoder: nn.Module,
    ) -> None:
        super().__init__(x_features, x_size, latent=latent, width=width, joint=joint)
        self.bottleneck = nn.Linear(joint, latent)
        self.decode_x = decoder
        self.decode_z = nn.Sequential(
            nn.Linear(latent, width), nn.LeakyReLU(SLOPE),
            nn.Linear(width, width), nn.LeakyReLU(SLOPE),
            nn.Linear(width, latent),
        )  # fmt: skip

    def judged(self, features: Tensor) -> Rebuilt:
        """The pair once more, and the bottleneck between."""
        code = self.bottleneck(features)
        return Rebuilt(x=self.decode_x(code), z=self.decode_z(code), code=code)
