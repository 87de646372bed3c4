"""Networks of somebody else, in plain PyTorch: nothing here knows of this project.

Run as a program it writes some of them as ONNX files into the folder it is run in.
"""

import sys
import warnings

import torch
from torch import Tensor, nn

Z = 6


class Encoder(nn.Module):
    """NCHW images of 16x16x3 in 0..1 to [B, Z]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 4, 2, 1)
        )
        self.head = nn.Linear(8 * 4 * 4, Z)

    def forward(self, x: Tensor) -> Tensor:
        code: Tensor = self.head(torch.relu(self.features(x)).flatten(1))
        return code


class Decoder(nn.Module):
    """[B, Z, 1, 1] to NCHW images in 0..1."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(Z, 8, 4),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 8, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(8, channels, 4, 2, 1),
            nn.Sigmoid(),
        )

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = self.layers(z)
        return x


class Grey(nn.Module):
    """NHWC images of 8x12x1 in 0..255 to [B, Z] in (-1, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(96, Z)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.head(x.flatten(1) / 255))


class Ungrey(nn.Module):
    """[B, Z] back to NHWC."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(Z, 96)

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = torch.sigmoid(self.head(z)).unflatten(1, (8, 12, 1)) * 255
        return x


class Two(nn.Module):
    """A mean and a variance."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flat = x.flatten(1)[:, :Z]
        return flat, flat.abs()


class Dice(nn.Module):
    """Another code each time."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.randn(len(x), Z) + x.flatten(1)[:, :Z]


def made(kind: type[nn.Module], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    network = kind()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
        if isinstance(module, nn.Linear | nn.ConvTranspose2d):
            module.weight.data.mul_(4)  # or all images are much the same grey
    return network.eval()


def encoder() -> nn.Module:
    return made(Encoder, 0)


def decoder() -> nn.Module:
    return made(Decoder, 1)


def grey() -> nn.Module:
    return made(Grey, 2)


def ungrey() -> nn.Module:
    return made(Ungrey, 3)


two, dice = Two(), Dice()


def broken() -> nn.Module:
    raise RuntimeError("the weights are on another disk\nand this is its second line")


def number() -> int:
    return 7


def _write(network: nn.Module, file: str, *shape: int, opset: int = 17, free: bool = True) -> None:
    axes = {"in": {0: "B"}, "out": {0: "B"}} if free else None
    example = (torch.zeros(2, *shape),)
    names = {"input_names": ["in"], "dynamic_axes": axes}
    torch.onnx.export(network, example, file, opset_version=opset, dynamo=False, **names)  # type: ignore[arg-type]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    image = (3, 16, 16)
    torch.onnx.export(
        encoder(), (torch.zeros(2, *image),), "e.onnx", dynamo=True, dynamic_shapes=({0: "B"},)
    )  # a new file, in the opset of that exporter, its weights beside it
    _write(encoder(), "old.onnx", *image, opset=11)
    _write(decoder(), "g.onnx", Z, 1, 1)
    _write(encoder(), "fixed.onnx", *image, free=False)
    _write(Decoder(channels=1), "grey.onnx", Z, 1, 1)
    _write(nn.Sequential(nn.Linear(9, 768), nn.Unflatten(1, image)), "wide.onnx", 9)
    _write(nn.Sequential(nn.Flatten(), nn.Linear(Z, 5)), "flat.onnx", Z)
    _write(two, "two.onnx", *image)
    sys.exit(0)
