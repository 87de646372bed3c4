"""Arrays as the files that a request carries."""

import io
from typing import Any

from PIL import Image


def png(image: Any) -> bytes:
    """uint8 [H, W], or [H, W, 3], as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
