"""Networks by name: what a config's `model.network` may be, and the critics that go with it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from torch import nn

from models.config import ModelConfig
from models.errors import BadConfig, UnknownName
from models.networks import aegan, dcgan, dense, flat, mlp, resnet
from models.networks.autoencoder import PairAutoencoder
from models.networks.blocks import Features, spectrally_normalised
from models.networks.gaussian import PARTS, GaussianEncoder
from models.networks.heads import SCORES, Autoencoder, Embedding, Head, Projections, Untouched
from models.networks.joint import Critic, Identity, JointCritic, JointEmbedding, JointProjections
from models.networks.labelled import SIZE, Labelled


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """How one kind of network builds its parts; `features` gives the part and its size."""

    encoder: Callable[[ModelConfig], nn.Module]
    generator: Callable[[ModelConfig], nn.Module]
    features: Callable[[ModelConfig], tuple[nn.Module, int]]
    decoder: Callable[[ModelConfig], nn.Module]  # of an autoencoding critic, from model.latent
    joint_width: Callable[[ModelConfig], tuple[int, int]]  # units of the z part, of the joint part
    code_features: Callable[[ModelConfig], tuple[nn.Module, int]]  # as features, of codes


def _image(model: ModelConfig) -> tuple[int, int, int]:
    if model.image is None:
        raise BadConfig(f"network {model.network} takes model.image, not model.vector")
    return model.image


def _vector(model: ModelConfig) -> int:
    if model.vector is None:
        raise BadConfig(f"network {model.network} takes model.vector, not model.image")
    return model.vector


def _code_features(model: ModelConfig) -> tuple[nn.Module, int]:
    return _units(replace(model, width=16 * model.width))


def _units(model: ModelConfig) -> tuple[nn.Module, int]:
    """Of codes, where `width` counts units and not channels."""
    part = mlp.VectorFeatures(vector=model.latent, width=model.width)
    return part, part.size


def _dense_features(model: ModelConfig) -> tuple[nn.Module, int]:
    part = aegan.CodeFeatures(latent=model.latent)
    return part, part.size


def _mlp_features(model: ModelConfig) -> tuple[nn.Module, int]:
    part = mlp.VectorFeatures(vector=_vector(model), width=model.width)
    return part, part.size


_LEAVE_OUT: Final = "leave model.upsampling out"


def _of_images(
    encoder: type[nn.Module],
    generator: type[nn.Module],
    features: Callable[..., Features],
    code_features: Callable[[ModelConfig], tuple[nn.Module, int]],
    **more: Callable[[ModelConfig], Any],
) -> Family:
    """A family whose classes take image, width, latent and prior.

    `more` are arguments of G's alone, each worked out from the config.
    """

    def seen(model: ModelConfig) -> tuple[nn.Module, int]:
        part = features(image=_image(model), width=model.width)
        return part, part.size

    def drawn(model: ModelConfig) -> nn.Module:
        own = {name: value(model) for name, value in more.items()}
        if "upsampling" not in own and model.upsampling != "transposed":
            raise BadConfig(f"network {model.network} doubles pixels its own way: {_LEAVE_OUT}")
        return generator(image=_image(model), width=model.width, latent=model.latent, **own)

    return Family(
        encoder=lambda m: encoder(
            image=_image(m),
            width=m.width,
            latent=m.latent,
            prior=m.prior,
            categorical=m.categorical,
        ),
        generator=drawn,
        features=seen,
        decoder=lambda m: dcgan.ImageDecoder(image=_image(m), width=m.width, code=m.latent),
        joint_width=lambda m: (8 * m.width, 16 * m.width),
        code_features=code_features,
    )


def _of_units(encoder: type[nn.Module], generator: type[nn.Module]) -> Family:
    """A family of images whose `width` counts units and not channels."""
    return replace(
        _of_images(encoder, generator, dense.ImageFeatures, _units),
        decoder=lambda m: dense.Generator(image=_image(m), width=m.width, latent=m.latent),
        joint_width=lambda m: (m.width, m.width),
    )


def _mlp_generator(model: ModelConfig) -> nn.Module:
    if model.upsampling != "transposed":
        raise BadConfig(f"network mlp has no pixels to double: {_LEAVE_OUT}")
    return mlp.Generator(vector=_vector(model), width=model.width, latent=model.latent)


FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {
        "dcgan": _of_images(
            dcgan.Encoder,
            dcgan.Generator,
            dcgan.ImageFeatures,
            _code_features,
            upsampling=lambda m: m.upsampling,
        ),
        "resnet": _of_images(
            resnet.Encoder, resnet.Generator, resnet.ImageFeatures, _code_features
        ),
        "dense": _of_units(dense.Encoder, dense.Generator),
        "flat": _of_units(flat.Encoder, flat.Generator),
        "aegan": _of_images(aegan.Encoder, aegan.Generator, aegan.ImageFeatures, _dense_features),
        "mlp": Family(
            encoder=lambda m: mlp.Encoder(
                vector=_vector(m),
                width=m.width,
                latent=m.latent,
                prior=m.prior,
                categorical=m.categorical,
            ),
            generator=_mlp_generator,
            features=_mlp_features,
            decoder=lambda m: mlp.Generator(vector=_vector(m), width=m.width, latent=m.latent),
            joint_width=lambda m: (m.width, m.width),
            code_features=_units,
        ),
    }
)


def find(name: str) -> Family:
    """The family called `name`.  Raises UnknownName, which lists the known ones."""
    if name not in FAMILIES:
        raise UnknownName("network", name, FAMILIES)
    return FAMILIES[name]


def build_encoder(model: ModelConfig) -> nn.Module:
    """E with fresh weights; where `model.stochastic`, a GaussianEncoder."""
    build, seen = find(model.network).encoder, _with_label(model)
    if model.stochastic:
        encoder: nn.Module = GaussianEncoder(build(replace(seen, latent=PARTS * model.latent)))
    else:
        encoder = build(seen)
    if model.encoder_norm == "spectral":
        spectrally_normalised(encoder)
    return _labelled(encoder, model)


def build_generator(model: ModelConfig) -> nn.Module:
    """G with fresh weights."""
    told = replace(model, latent=model.latent + SIZE) if model.classes else model
    return _labelled(find(model.network).generator(told), model)


def build_image_critic(model: ModelConfig) -> nn.Module:
    """A critic of x alone, [B, ...] to [B]."""
    model = _critics_own(model)
    features = find(model.network).features(_with_label(model))
    return _finished(Critic(*features, minibatch=model.critic_minibatch), model)


def build_latent_critic(model: ModelConfig) -> nn.Module:
    """A critic of z alone, [B, Z] to [B]."""
    model = _critics_own(model)
    norm = model.latent_critic_norm
    own = model if norm == "same" else replace(model, critic_norm=norm)
    told = replace(model, latent=model.latent + SIZE) if model.classes else model
    return _finished(Critic(*find(model.network).code_features(told)), own)


def build_image_pair_critic(model: ModelConfig) -> nn.Module:
    """A critic of two items side by side along axis 1, [B, 2C, H, W] or [B, 2D] to [B]."""
    model = _critics_own(model)
    if model.image is not None:
        height, breadth, channels = model.image
        doubled = replace(model, image=(height, breadth, 2 * channels))
    else:
        doubled = replace(model, vector=2 * _vector(model))
    features = find(model.network).features(_with_label(doubled))
    return _finished(Critic(*features, minibatch=model.critic_minibatch), model)


def build_latent_pair_critic(model: ModelConfig) -> nn.Module:
    """A critic of two codes side by side, [B, 2Z] to [B]."""
    return build_latent_critic(replace(model, latent=2 * model.latent))


def build_joint_critic(model: ModelConfig, head: Head = SCORES) -> nn.Module:
    """A critic of pairs, ([B, ...], [B, Z]) to what `head` says."""
    if isinstance(head, Untouched):
        return Identity()
    model = _critics_own(model)
    return _finished(_joint(model, head), model)


def _joint(model: ModelConfig, head: Head) -> nn.Module:
    family = find(model.network)
    features, x_size = family.features(_with_label(model))
    z_width, joint = family.joint_width(model)
    sizes: dict[str, int] = {"latent": model.latent, "width": z_width, "joint": joint}
    match head:
        case Embedding():
            return JointEmbedding(features, x_size, **sizes, size=head.features)
        case Projections():
            return JointProjections(features, x_size, **sizes, size=head.features, rank=head.rank)
        case Autoencoder():
            return PairAutoencoder(features, x_size, **sizes, decoder=family.decoder(model))
        case _:
            return JointCritic(features, x_size, **sizes, minibatch=model.critic_minibatch)


def _critics_own(model: ModelConfig) -> ModelConfig:
    """The same model at the critics' width."""
    return replace(model, width=model.critic_width or model.width)


def _finished(critic: nn.Module, model: ModelConfig) -> nn.Module:
    if model.critic_norm == "spectral":
        spectrally_normalised(critic)
    return _labelled(critic, model)


def _with_label(model: ModelConfig) -> ModelConfig:
    """The same model, whose items have their label beside them where it is conditional."""
    if not model.classes:
        return model
    if model.image is None:
        return replace(model, vector=_vector(model) + SIZE)
    height, breadth, channels = model.image
    return replace(model, image=(height, breadth, channels + SIZE))


def _labelled(network: nn.Module, model: ModelConfig) -> nn.Module:
    return Labelled(network, model.classes) if model.classes else network
