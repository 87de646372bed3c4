"""Small plain JPEGs straight to pixels: to set Pillow up for one takes ten times as long.

Both decode by libjpeg-turbo with the same settings, so the pixels are the same.  Whatever is not
small, plain and sound is Pillow's to decode or to refuse.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import simplejpeg

_MOST: Final = 2**20  # pixels; beyond, what Pillow needs to begin is nothing to what follows
_COLOURS: Final = {"Gray": "GRAY", "YCbCr": "RGB"}  # how they are stored, and what becomes of them


def small_jpeg(data: bytes, max_pixels: int) -> npt.NDArray[np.uint8] | None:
    """The pixels, [h, w, 1] or [h, w, 3], read-only; None for what is better left to Pillow.

    Args:
        data: A JPEG without needless segments (`serving.containers.essential_jpeg`).
    """
    if b"Exif\0" in data:  # it may want to be turned
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours not in _COLOURS or height * width > min(_MOST, max_pixels):
            return None
        pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, _COLOURS[colours], fastdct=False, fastupsample=False
        )
    except ValueError:  # cut off, damaged, or of a kind that it does not know
        return None
    pixels.flags.writeable = False
    return pixels
