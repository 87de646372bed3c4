"""uint8 pixels [N, H, W, C] and the float images [B, C, H, W] in [-1, 1] that networks see."""

import torch
from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """uint8 [N, H, W, C] to float32 [N, C, H, W]: 0 becomes -1 and 255 becomes 1."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """float [N, C, H, W] in [-1, 1] to uint8 [N, H, W, C], rounded half to even and clipped."""
    levels = ((images.float() + 1) * 127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1)
