"""AEGAN, its parts and their controls, each as the lines a user would put in a config."""

from dataclasses import dataclass
from typing import Any, Final

from models import choices
from models.config import Config

# Lazarou 2020's z, batch, rates and labels, on networks that a core trains in minutes
BASE: Final[dict[str, dict[str, Any]]] = {
    "data": {"fit": "pad", "background": 0},
    "model": {"pairing": "aegan", "objective": "gan", "network": "dcgan", "image": [32, 32, 1],
              "latent": 16, "width": 16},
    "weights": {"smoothing": 0.05},
    "train": {"batch": 32, "lr": 2e-4, "critic_lr": 5e-4, "threads": 1},
}  # fmt: skip
R1: Final = "regularisers.r1={weight=1.0,every=16}"
# E rests until the last step, which is never taken here: what is left is a GAN
GAN: Final = ("model.pairing=fanogan", "train.polish=1")
ARTICLE: Final = ("model.network=aegan", "model.width=8")


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One row of the table."""

    title: str
    overrides: tuple[str, ...]
    group: str
    colour: str
    encodes: bool = True  # whether its E was trained

    def config(self, shared: Config, *, steps: int, seed: int) -> Config:
        """What is trained: `shared`, with what this one sets.

        Raises BadConfig or UnknownName where the choices do not agree.
        """
        common = (f"train.steps={steps + 1}", f"train.seed={seed}")
        return choices.resolve(shared.changed((*common, *self.overrides)))


def shared(data: str, *, size: int, width: int, batch: int) -> Config:
    """What all variants have in common."""
    sized = (f"model.image=[{size},{size},1]", f"model.width={width}", f"train.batch={batch}")
    return Config.from_dict(BASE).changed((f"data.path={data}", *sized))


def _of(group: str, **variants: tuple[str, str, tuple[str, ...]]) -> dict[str, Variant]:
    """Variants of a group from title, colour and overrides by name."""
    return {
        name.replace("_", "-"): Variant(
            title=title, overrides=own, group=group, colour=colour, encodes=own[:2] != GAN
        )
        for name, (title, colour, own) in variants.items()
    }


VARIANTS: Final[dict[str, Variant]] = {
    **_of(
        "lattice",
        aegan=("AEGAN", "#1f5fa8", ()),
        gan=("GAN", "#d1495b", GAN),
        ae=("AE", "#7f7f7f", ("model.pairing=aae", "weights.critic_latent=0")),
        aae=("AAE", "#edae49", ("model.pairing=aae",)),
        egan=("EGAN", "#66a182", ("weights.image=0", "weights.critic_latent=0",
                                  "weights.critic_reconstruction=0")),
    ),
    **_of(
        "controls",
        gan_r1=("GAN + R1", "#8c2d3b", (*GAN, R1)),
        gan_spectral=("GAN + spectral norm", "#f0a0aa", (*GAN, "model.critic_norm=spectral")),
        aegan_r1=("AEGAN + R1", "#0b2f57", (R1,)),
        bigan=("BiGAN", "#8d6a9f", ("model.pairing=bigan",)),
        bigan_l1=("BiGAN + L1", "#c9a6dc", ("model.pairing=bigan", "weights.image=10")),
    ),
    **_of(
        "knock-outs",
        no_dz=("AEGAN - Dz", "#edae49", ("weights.critic_latent=0",)),
        no_shown=("AEGAN - G(E(x)) to Dx", "#d1495b", ("weights.critic_reconstruction=0",)),
        no_z_cycle=("AEGAN - z-cycle", "#66a182", ("weights.latent=0",)),
        no_x_cycle=("AEGAN - x-cycle", "#8d6a9f", ("weights.image=0",)),
        no_smoothing=("AEGAN - smoothing", "#7f7f7f", ("weights.smoothing=0",)),
    ),
    **_of(
        "article's networks",
        article_gan=("GAN, article's networks", "#d1495b", (*GAN, *ARTICLE)),
        article_aegan=("AEGAN, article's networks", "#1f5fa8", ARTICLE),
    ),
}  # fmt: skip
