"""Small JPEGs take a short way: it must give Pillow's pixels, and leave to it what is odd."""

import io
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

import odd_files
from serving.errors import ServingError, TooLarge, Unprocessable
from serving.images import ImageSpec, decode
from serving.jpeg import small_jpeg

GREY = ImageSpec(height=24, width=40, channels=1)
MOST = 64_000_000


def picture(width: int, height: int, mode: str) -> Image.Image:
    """Waves with noise on them, so that every coefficient has something to say."""
    rng = np.random.default_rng(width * height)
    bands = [
        128 + 90 * np.sin(np.add.outer(np.arange(height) / k, np.arange(width) / 3))
        for k in (2, 5, 9)
    ]
    pixels = np.stack(bands, axis=2) + rng.normal(0, 12, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(40, 24), (33, 47), (1, 1), (7, 200)])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_pixels_are_pillows(
    mode: str,
    size: tuple[int, int],
    subsampling: int,
    progressive: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "MAXBLOCK", 2**22)
    for quality in (20, 75, 95):
        data = jpeg(
            picture(*size, mode), quality=quality, subsampling=subsampling, progressive=progressive
        )
        wanted = np.asarray(Image.open(io.BytesIO(data)))
        found = small_jpeg(data, MOST)
        assert found is not None
        np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)
        for channels, other in ((1, "L"), (3, "RGB")):
            spec = ImageSpec(height=size[1], width=size[0], channels=channels)
            shown = np.asarray(Image.open(io.BytesIO(data)).convert(other))
            np.testing.assert_array_equal(decode(data, spec), shown.reshape(spec.shape))
            assert not decode(data, spec).flags.writeable


def test_another_size_is_resampled_as_pillow_does() -> None:
    data = jpeg(picture(90, 61, "RGB"))
    grey = Image.open(io.BytesIO(data)).convert("L")
    wanted = np.asarray(grey.resize((40, 24), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(decode(data, GREY)[:, :, 0], wanted)


def test_what_exif_turns_is_left_to_pillow() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # seen turned by a quarter
    data = jpeg(picture(24, 40, "L"), exif=exif)
    assert small_jpeg(data, MOST) is None
    turned = Image.open(io.BytesIO(data)).transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_array_equal(decode(data, GREY)[:, :, 0], np.asarray(turned))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(jpeg(picture(40, 24, "CMYK")), id="ink"),
        pytest.param(jpeg(picture(40, 24, "L"))[:-60], id="cut off"),
        pytest.param(jpeg(picture(40, 24, "L"))[:100], id="cut off in its header"),
        pytest.param(b"\xff\xd8\xff", id="nothing else"),
        pytest.param(jpeg(picture(1200, 900, "L")), id="more than a million pixels"),
    ],
)
def test_what_is_odd_is_left_to_pillow(data: bytes) -> None:
    assert small_jpeg(data, MOST) is None
    with_pillow: Image.Image | None
    try:
        with_pillow = Image.open(io.BytesIO(data))
        with_pillow.load()
    except (OSError, SyntaxError):
        with_pillow = None
    if with_pillow is None:
        with pytest.raises(Unprocessable):
            decode(data, GREY)
    else:
        assert decode(data, GREY).shape == GREY.shape


def test_scans_are_counted_before_one_is_decoded() -> None:
    data = jpeg(Image.new("L", (1000, 1000)), progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    started = time.process_time()
    assert small_jpeg(data[:-2] + last * (200_000 // len(last)) + data[-2:], MOST) is None
    assert time.process_time() - started < 1  # each takes a millisecond


def test_needless_segments_change_no_pixel() -> None:
    data = jpeg(picture(33, 47, "RGB"))
    filled = odd_files.in_jpeg(
        data,
        b"".join(odd_files.segment(kind, data[:600]) for kind in (0xFE, 0xE2, 0xE5, 0xED)),
    )
    found, wanted = small_jpeg(filled, MOST), small_jpeg(data, MOST)
    assert found is not None
    assert wanted is not None
    np.testing.assert_array_equal(found, wanted)


def test_no_bytes_whatever_bring_anything_but_pixels_or_a_refusal() -> None:
    rng = np.random.default_rng(5)
    sound = jpeg(picture(40, 24, "RGB"))
    decoded = 0
    for _ in range(1500):
        data = bytearray(sound)
        for place in rng.integers(2, len(data), rng.integers(1, 6)):
            data[place] = rng.integers(0, 256)
        try:
            decoded += decode(bytes(data), GREY, max_pixels=100_000).shape == GREY.shape
        except ServingError:
            continue
    assert 0 < decoded < 1500


def test_the_limit_of_pixels_holds() -> None:
    data = jpeg(picture(40, 24, "L"))
    assert decode(data, GREY, max_pixels=960).shape == GREY.shape
    with pytest.raises(TooLarge):
        decode(data, GREY, max_pixels=959)
