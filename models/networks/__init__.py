"""Networks by name: what a config's `model.network` may be, and the critics that go with it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from torch import nn

from models.config import ModelConfig
from models.errors import BadConfig, UnknownName
from models.networks import dcgan, mlp
from models.networks.autoencoder import PairAutoencoder
from models.networks.blocks import spectrally_normalised
from models.networks.heads import SCORES, Autoencoder, Embedding, Head, Projections, Untouched
from models.networks.joint import Critic, Identity, JointCritic, JointEmbedding, JointProjections


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """How one kind of network builds its parts; `features` gives the part and its size."""

    encoder: Callable[[ModelConfig], nn.Module]
    generator: Callable[[ModelConfig], nn.Module]
    features: Callable[[ModelConfig], tuple[nn.Module, int]]
    decoder: Callable[[ModelConfig], nn.Module]  # of an autoencoding critic, from model.latent
    joint_width: Callable[[ModelConfig], tuple[int, int]]  # units of the z part, of the joint part


def _image(model: ModelConfig) -> tuple[int, int, int]:
    if model.image is None:
        raise BadConfig(f"network {model.network} takes model.image, not model.vector")
    return model.image


def _vector(model: ModelConfig) -> int:
    if model.vector is None:
        raise BadConfig(f"network {model.network} takes model.vector, not model.image")
    return model.vector


def _dcgan_features(model: ModelConfig) -> tuple[nn.Module, int]:
    part = dcgan.ImageFeatures(image=_image(model), width=model.width)
    return part, part.size


def _mlp_features(model: ModelConfig) -> tuple[nn.Module, int]:
    part = mlp.VectorFeatures(vector=_vector(model), width=model.width)
    return part, part.size


def _mlp_generator(model: ModelConfig) -> nn.Module:
    if model.upsampling != "transposed":
        raise BadConfig("network mlp has no pixels to double: leave model.upsampling out")
    return mlp.Generator(vector=_vector(model), width=model.width, latent=model.latent)


FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {
        "dcgan": Family(
            encoder=lambda m: dcgan.Encoder(
                image=_image(m), width=m.width, latent=m.latent, prior=m.prior
            ),
            generator=lambda m: dcgan.Generator(
                image=_image(m), width=m.width, latent=m.latent, upsampling=m.upsampling
            ),
            features=_dcgan_features,
            decoder=lambda m: dcgan.ImageDecoder(image=_image(m), width=m.width, code=m.latent),
            joint_width=lambda m: (8 * m.width, 16 * m.width),
        ),
        "mlp": Family(
            encoder=lambda m: mlp.Encoder(
                vector=_vector(m), width=m.width, latent=m.latent, prior=m.prior
            ),
            generator=_mlp_generator,
            features=_mlp_features,
            decoder=lambda m: mlp.Generator(vector=_vector(m), width=m.width, latent=m.latent),
            joint_width=lambda m: (m.width, m.width),
        ),
    }
)


def find(name: str) -> Family:
    """The family called `name`.  Raises UnknownName, which lists the known ones."""
    if name not in FAMILIES:
        raise UnknownName("network", name, FAMILIES)
    return FAMILIES[name]


def build_encoder(model: ModelConfig) -> nn.Module:
    """E with fresh weights."""
    return find(model.network).encoder(model)


def build_generator(model: ModelConfig) -> nn.Module:
    """G with fresh weights."""
    return find(model.network).generator(model)


def build_image_critic(model: ModelConfig) -> nn.Module:
    """A critic of x alone, [B, ...] to [B]."""
    model = _critics_own(model)
    return _finished(Critic(*find(model.network).features(model)), model)


def build_latent_critic(model: ModelConfig) -> nn.Module:
    """A critic of z alone, [B, Z] to [B]."""
    model = _critics_own(model)
    width = 16 * model.width if model.image else model.width
    features = mlp.VectorFeatures(vector=model.latent, width=width)
    norm = model.latent_critic_norm
    own = model if norm == "same" else replace(model, critic_norm=norm)
    return _finished(Critic(features, features.size), own)


def build_joint_critic(model: ModelConfig, head: Head = SCORES) -> nn.Module:
    """A critic of pairs, ([B, ...], [B, Z]) to what `head` says."""
    if isinstance(head, Untouched):
        return Identity()
    model = _critics_own(model)
    return _finished(_joint(model, head), model)


def _joint(model: ModelConfig, head: Head) -> nn.Module:
    family = find(model.network)
    features, x_size = family.features(model)
    z_width, joint = family.joint_width(model)
    sizes = {"latent": model.latent, "width": z_width, "joint": joint}
    match head:
        case Embedding():
            return JointEmbedding(features, x_size, **sizes, size=head.features)
        case Projections():
            return JointProjections(features, x_size, **sizes, size=head.features, rank=head.rank)
        case Autoencoder():
            return PairAutoencoder(features, x_size, **sizes, decoder=family.decoder(model))
        case _:
            return JointCritic(features, x_size, **sizes)


def _critics_own(model: ModelConfig) -> ModelConfig:
    """The same model at the critics' width."""
    return replace(model, width=model.critic_width or model.width)


def _finished(critic: nn.Module, model: ModelConfig) -> nn.Module:
    return spectrally_normalised(critic) if model.critic_norm == "spectral" else critic
