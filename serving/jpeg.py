"""Small plain JPEGs straight to pixels: to set Pillow up for one takes ten times as long.

Both decode by libjpeg-turbo with the same settings, so the pixels are the same.  Whatever is not
small, plain and sound is Pillow's to decode or to refuse.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import simplejpeg

from serving.containers import MAX_PARTS, MAX_SCANS

_MOST: Final = 2**20  # pixels; beyond, what Pillow needs to begin is nothing to what follows
_MOST_BYTES: Final = 4 * MAX_PARTS  # segments have 4 at least, so there cannot be too many of them
_SCAN: Final = b"\xff\xda"
_COLOURS: Final = {"Gray": "GRAY", "YCbCr": "RGB"}  # how they are stored, and what becomes of them


def small_jpeg(data: bytes, max_pixels: int) -> npt.NDArray[np.uint8] | None:
    """The pixels, [h, w, 1] or [h, w, 3], read-only; None for what is better left to Pillow.

    Needless segments do no harm here: this decoder passes over them and keeps nothing.
    """
    if b"Exif\0" in data:  # it may want to be turned
        return None
    # Whatever else has these bytes, there are no more scans than this.
    if len(data) > _MOST_BYTES or data.count(_SCAN) > MAX_SCANS:
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
