"""Files to pixels: the right ones, or a refusal that says why, and never anything else."""

import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import odd_files
from odd_files import FOLDER_SOUND, HTTP_SOUND, NOISE, REFUSED, Refused, Sound, jpeg, rgb_png, saved
from serving.errors import ServingError, TooLarge, Unprocessable, UnsupportedType
from serving.images import FOLDER_FORMATS, ImageSpec, convert, decode, fit_array

# serving.images silences Pillow's warnings at import; pytest sets filters of its own.
pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\.")

ROOT = Path(__file__).parents[2]


def luma(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """ITU-R BT.601 luma, rounded: [h, w, 3] to [h, w, 1]."""
    weights = np.array([0.299, 0.587, 0.114])
    levels: npt.NDArray[np.uint8] = np.rint(pixels @ weights).astype(np.uint8)
    return levels[:, :, np.newaxis]


def spec_of(pixels: npt.NDArray[np.uint8], channels: int = 3) -> ImageSpec:
    """A model of just this size, so that nothing is resampled."""
    return ImageSpec(height=pixels.shape[0], width=pixels.shape[1], channels=channels)


def check(found: npt.NDArray[np.uint8], wanted: npt.NDArray[np.uint8], tolerance: int) -> None:
    assert found.shape == wanted.shape
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - wanted).max() <= tolerance


def named(cases: list[Sound] | list[Refused]) -> list[str]:
    return [case.name for case in cases]


@pytest.mark.parametrize("sound", HTTP_SOUND, ids=named(HTTP_SOUND))
def test_a_sound_file_gives_the_pixels_a_person_would_see(sound: Sound) -> None:
    rgb = np.broadcast_to(sound.pixels, (*sound.pixels.shape[:2], 3))
    check(decode(sound.data, spec_of(sound.pixels)), rgb, sound.tolerance)
    grey = sound.pixels if sound.pixels.shape[2] == 1 else luma(sound.pixels)
    # Luma is rounded twice for a transparent image, and once in fixed point.
    found = decode(sound.data, spec_of(sound.pixels, channels=1))
    check(found, grey, sound.tolerance + (sound.pixels.shape[2] == 3))


@pytest.mark.parametrize("sound", FOLDER_SOUND, ids=named(FOLDER_SOUND))
def test_more_kinds_are_read_from_folders_than_over_http(sound: Sound) -> None:
    rgb = np.broadcast_to(sound.pixels, (*sound.pixels.shape[:2], 3))
    check(decode(sound.data, spec_of(sound.pixels), formats=FOLDER_FORMATS), rgb, 0)
    with pytest.raises(UnsupportedType, match="this reads PNG, JPEG, WEBP, BMP"):
        decode(sound.data, spec_of(sound.pixels))


@pytest.mark.parametrize("case", REFUSED, ids=named(REFUSED))
def test_other_files_are_refused_with_the_reason(case: Refused) -> None:
    started = time.thread_time()
    with pytest.raises(case.error) as caught:
        decode(case.data, ImageSpec(height=8, width=8, channels=3))
    assert type(caught.value) is case.error
    assert case.says in caught.value.detail
    assert len(caught.value.detail) < 400
    assert time.thread_time() - started < 2


def test_a_folder_refuses_animations_too() -> None:
    first, second = Image.fromarray(NOISE), Image.fromarray(255 - NOISE)
    gif = saved(first, "GIF", save_all=True, append_images=[second], duration=50)
    tiff = saved(first, "TIFF", save_all=True, append_images=[second])
    for data in (gif, tiff):
        with pytest.raises(UnsupportedType, match="more than one frame"):
            decode(data, spec_of(NOISE), formats=FOLDER_FORMATS)


def test_pixels_without_a_range_are_refused() -> None:
    spec = ImageSpec(height=2, width=2, channels=3)
    real = Image.fromarray(np.array([[0, 0.5], [1, 2]], np.float32))
    with pytest.raises(Unprocessable, match="F pixels"):
        decode(saved(real, "TIFF"), spec, formats=FOLDER_FORMATS)
    for value in (-1, 65_536):
        whole = Image.fromarray(np.full((2, 2), value, np.int32))
        with pytest.raises(Unprocessable, match=r"beyond 0\.\.65535"):
            decode(saved(whole, "TIFF"), spec, formats=FOLDER_FORMATS)


def test_the_pixel_limit_is_the_callers() -> None:
    data, spec = rgb_png(NOISE), spec_of(NOISE)
    assert decode(data, spec, max_pixels=35).shape == (5, 7, 3)
    with pytest.raises(TooLarge, match="7 x 5 = 35 pixels; the limit is 34 pixels"):
        decode(data, spec, max_pixels=34)


def test_pillows_own_limit_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Image.open refuses twice as many
    with pytest.raises(Image.DecompressionBombError):
        Image.open(BytesIO(rgb_png(NOISE)))
    np.testing.assert_array_equal(decode(rgb_png(NOISE), spec_of(NOISE)), NOISE)


BOMB = """
import resource, sys, time
from serving.errors import TooLarge
from serving.images import ImageSpec, decode
data, spec = sys.stdin.buffer.read(), ImageSpec(height=8, width=8, channels=3)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, started = peak(), time.perf_counter()
try:
    decode(data, spec)
except TooLarge:
    print(time.perf_counter() - started, peak() - before)
"""


@pytest.mark.parametrize(
    "name", ["png of 20,000 x 20,000", "webp lossless of 2^28 pixels", "bmp that lies"]
)
def test_a_bomb_costs_neither_time_nor_memory(name: str) -> None:
    data = next(case.data for case in REFUSED if case.name == name)
    run = subprocess.run(
        [sys.executable, "-c", BOMB], input=data, cwd=ROOT, capture_output=True, check=True
    )
    seconds, kib = map(float, run.stdout.split())
    assert seconds < 0.05
    assert kib < 4096


def test_empty_segments_do_not_pile_up_in_memory() -> None:
    data = odd_files.in_jpeg(jpeg(NOISE), odd_files.segment(0xE5, b"") * 60_000)
    tracemalloc.start()
    try:
        decode(data, spec_of(NOISE))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(data)  # Pillow keeps a list of them: 30 times their size


def test_junk_is_passed_over_quickly() -> None:
    plain = jpeg(NOISE)
    scan = plain.index(b"\xff\xda")
    started = time.thread_time()
    for junk in (b"\0", b"\xff", b"\xff\0"):
        decode(odd_files.in_jpeg(plain, junk * 2_000_000), spec_of(NOISE))
        decode(plain[:scan] + junk * 2_000_000 + plain[scan:], spec_of(NOISE))
    assert time.thread_time() - started < 2


def test_the_first_bytes_decide() -> None:
    # A PNG header in front of a JPEG is a PNG, and a broken one.
    with pytest.raises(Unprocessable, match="PNG"):
        decode(b"\x89PNG\r\n\x1a\n" + jpeg(NOISE), spec_of(NOISE))


def test_damage_anywhere_is_refused_or_harmless() -> None:
    """Flipped, cut, doubled and swapped bytes: an array of the right shape, or a ServingError."""
    rng = np.random.default_rng(7)
    spec = ImageSpec(height=6, width=6, channels=3, fit="pad")
    small = [case.data for case in HTTP_SOUND + FOLDER_SOUND if len(case.data) < 5_000]
    outcomes: Counter[object] = Counter()
    for data in small * 25:
        body = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            at, size = rng.integers(0, len(body)), int(rng.integers(1, 9))
            kind = rng.integers(0, 4)
            if kind == 0:
                body[at] ^= 1 << int(rng.integers(0, 8))
            elif kind == 1:
                body[at : at + size] = rng.bytes(size)
            elif kind == 2:
                body[at:at] = body[at : at + size]
            else:
                del body[at : at + size]
            body = body or bytearray(b"\0")
        try:
            pixels = decode(bytes(body), spec, max_pixels=100_000, formats=FOLDER_FORMATS)
        except ServingError as error:
            outcomes[error.status] += 1
        else:
            outcomes[pixels.shape] += 1
    assert outcomes.keys() == {(6, 6, 3), 413, 415, 422}
    assert min(outcomes[6, 6, 3], outcomes[422]) > 300  # both roads are well trodden


def test_threads_do_not_disturb_each_other() -> None:
    cases = [case for case in HTTP_SOUND if len(case.data) < 100_000]
    wanted = [decode(case.data, spec_of(case.pixels)) for case in cases]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            found = pool.map(lambda case: decode(case.data, spec_of(case.pixels)), cases)
            for one, other in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(one, other)


def test_nothing_is_printed_about_broken_exif() -> None:
    name = "jpeg with broken Exif"
    data = next(case.data for case in HTTP_SOUND if case.name == name)
    code = (
        "import sys; from serving.images import ImageSpec, decode; "
        "print(decode(sys.stdin.buffer.read(), ImageSpec(height=8, width=8, channels=3)).shape)"
    )
    run = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], input=data, cwd=ROOT, capture_output=True
    )
    assert (run.stdout, run.stderr) == (b"(8, 8, 3)\n", b"")


def test_the_same_pixels_come_from_a_file_an_image_and_an_array() -> None:
    spec = ImageSpec(height=9, width=4, channels=3, fit="pad", background=(1, 2, 3))
    wanted = decode(rgb_png(NOISE), spec)
    np.testing.assert_array_equal(convert(Image.fromarray(NOISE), spec), wanted)
    np.testing.assert_array_equal(convert(Image.open(BytesIO(rgb_png(NOISE))), spec), wanted)
    np.testing.assert_array_equal(fit_array(NOISE, spec), wanted)


def test_a_broken_image_is_refused_by_convert_too() -> None:
    data = jpeg(odd_files.QUARTERS)
    with pytest.raises(Unprocessable, match="truncated"):
        convert(Image.open(BytesIO(data[:-20])), spec_of(NOISE))
