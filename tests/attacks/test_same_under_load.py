"""The model that ships answers under load as it does alone."""

import base64
import io
import itertools
import threading
import time
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
from conftest import served
from PIL import Image, ImageSequence

from serving.settings import BUNDLES, Settings

SECONDS = 4.0
CLIENTS = 16
RNG = np.random.default_rng(9)
NPY, JSON = "application/x-npy", "application/json"
Request = tuple[str, str, dict[str, str], bytes]


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
