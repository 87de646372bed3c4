"""Arrays to picture files, read back by Pillow, which had no part in writing most of them."""

import math
import zipfile
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from serving.errors import Unprocessable
from serving.rendering import (
    gif_animation,
    grid,
    heat_map,
    overlay,
    png,
    webp_animation,
    zip_of_png,
)

Pixels = npt.NDArray[np.uint8]
RNG = np.random.default_rng(11)


def noise(*shape: int) -> Pixels:
    return RNG.integers(0, 256, shape, np.uint8)


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


def frames_of(data: bytes) -> tuple[Pixels, list[int]]:
    """The frames [N, H, W, 3] of an animation, and how long each is shown, in ms."""
    with opened(data) as image:
        frames, durations = [], []
        for i in range(getattr(image, "n_frames", 1)):
            image.seek(i)
            frames.append(np.asarray(image.convert("RGB")))
            durations.append(image.info.get("duration", 0))
        return np.stack(frames), durations


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7, 1), (1, 1, 3), (1, 300, 1), (64, 64, 3)])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_a_png_holds_every_pixel(shape: tuple[int, ...], level: int) -> None:
    image = noise(*shape)
    read = opened(png(image, level))
    assert read.mode == ("L" if shape[2] == 1 else "RGB")
    np.testing.assert_array_equal(np.asarray(read).reshape(shape), image)
    opened(png(image, level)).verify()  # checksums


def test_a_png_takes_views_and_packs_them() -> None:
    image = noise(8, 8, 3)
    flipped = png(image[::-1, ::2])
    np.testing.assert_array_equal(np.asarray(opened(flipped)), image[::-1, ::2])
    flat = np.zeros((64, 64, 3), np.uint8)
    assert len(png(flat)) < 200 < len(png(flat, 0))


@pytest.mark.parametrize(
    ("n", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (3, 2, 2), (4, 2, 2), (5, 2, 3), (10, 3, 4)]
)
def test_a_grid_has_as_many_columns_as_the_root_of_n(n: int, rows: int, columns: int) -> None:
    images = noise(n, 4, 5, 3)
    found = grid(images)
    assert columns == math.ceil(math.sqrt(n))
    assert found.shape == (rows * 4, columns * 5, 3)
    for i in range(rows * columns):
        y, x = i // columns * 4, i % columns * 5
        cell = found[y : y + 4, x : x + 5]
        np.testing.assert_array_equal(cell, images[i] if i < n else np.zeros_like(cell))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_webp_shows_every_frame_exactly(channels: int) -> None:
    frames = noise(4, 16, 12, channels)
    found, durations = frames_of(webp_animation(frames, 10))
    np.testing.assert_array_equal(found, np.broadcast_to(frames, (4, 16, 12, 3)))
    assert durations == [100] * 4
    assert opened(webp_animation(frames, 10)).info["loop"] == 0  # for ever


def test_a_gif_shows_grey_frames_exactly() -> None:
    frames = noise(4, 16, 12, 1)
    found, durations = frames_of(gif_animation(frames, 10))
    np.testing.assert_array_equal(found, frames.repeat(3, axis=3))
    assert durations == [100] * 4
    assert opened(gif_animation(frames, 10)).info["loop"] == 0


def test_a_gif_shows_few_colours_exactly_and_many_nearly() -> None:
    few = np.array([[10, 200, 30], [0, 0, 0], [255, 255, 255]], np.uint8)[
        RNG.integers(0, 3, (3, 16, 12))
    ]
    np.testing.assert_array_equal(frames_of(gif_animation(few, 10))[0], few)
    y, x = np.mgrid[:32, :32]
    ramp = np.stack([y * 8, x * 8, (y + x) * 4], axis=-1).astype(np.uint8)
    frames = np.stack([ramp, ramp[::-1], ramp[:, ::-1]])
    found, _ = frames_of(gif_animation(frames, 10))
    assert np.abs(found.astype(int) - frames).mean() < 6
    assert np.abs(found.astype(int) - frames).max() < 60


@pytest.mark.parametrize("animation", [webp_animation, gif_animation])
def test_equal_neighbours_are_one_frame_shown_longer(animation: type) -> None:
    a, b = noise(2, 8, 8, 1)
    found, durations = frames_of(animation(np.stack([a, a, a, b, a, a]), 10))
    np.testing.assert_array_equal(found[..., :1], np.stack([a, b, a]))
    assert durations == [300, 100, 200]


@pytest.mark.parametrize("animation", [webp_animation, gif_animation])
def test_frames_that_are_all_equal_are_a_still(animation: type) -> None:
    image = noise(1, 8, 8, 1)
    for frames in (image, image.repeat(3, axis=0)):
        found, _ = frames_of(animation(frames, 10))
        np.testing.assert_array_equal(found[..., :1], image)


@pytest.mark.parametrize(
    ("animation", "fps", "wanted"),
    [
        (webp_animation, 30, [33, 34, 33, 33, 34, 33]),  # 0, 33.3, 66.7, 100, 133.3, 166.7, 200
        (gif_animation, 30, [30, 40, 30, 30, 40, 30]),  # in hundredths: 0, 3, 7, 10, 13, 17, 20
        (webp_animation, 50, [20] * 6),
        (gif_animation, 50, [20] * 6),
        (gif_animation, 0.1, [10_000] * 6),
    ],
)
def test_rounding_of_times_does_not_add_up(animation: type, fps: float, wanted: list[int]) -> None:
    assert frames_of(animation(noise(6, 8, 8, 1), fps))[1] == wanted


def test_a_gif_frame_is_shown_as_long_as_the_format_can_say() -> None:
    a, b = noise(2, 2, 2, 1)
    frames = np.concatenate([np.repeat(a[np.newaxis], 100, axis=0), b[np.newaxis]])
    assert frames_of(gif_animation(frames, 0.1))[1] == [655_350, 10_000]  # of 1,000,000


@pytest.mark.parametrize(("animation", "most"), [(webp_animation, 16_383), (gif_animation, 65_535)])
def test_what_no_such_file_can_hold_is_refused(animation: type, most: int) -> None:
    """A grid of some thousand images, say."""
    with pytest.raises(Unprocessable, match=f"at most {most:,} a side: ask for PNG"):
        animation(np.zeros((1, 2, most + 1, 1), np.uint8), 12)


@pytest.mark.parametrize("fps", [0, -1, 0.01, 51, float("nan"), float("inf")])
@pytest.mark.parametrize("animation", [webp_animation, gif_animation])
def test_a_rate_no_viewer_keeps_is_refused(animation: type, fps: float) -> None:
    with pytest.raises(Unprocessable, match=r"fps must be from 0\.1 to 50"):
        animation(noise(2, 8, 8, 1), fps)


def test_a_zip_holds_one_numbered_png_for_each_image() -> None:
    images = noise(3, 4, 5, 3)
    data = zip_of_png(images)
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["0000.png", "0001.png", "0002.png"]
        found = [np.asarray(opened(archive.read(name))) for name in archive.namelist()]
    np.testing.assert_array_equal(found, images)
    assert zip_of_png(images) == data  # no clock in it


def test_heat_is_grey_in_proportion() -> None:
    heat = np.array([[0, 0.5, 1], [0.002, -1, 7]], np.float32)
    assert heat_map(heat)[:, :, 0].tolist() == [[0, 128, 255], [1, 0, 255]]
    assert heat_map(heat).dtype == np.uint8


def test_where_nothing_is_hot_an_overlay_is_the_image_in_grey() -> None:
    image = noise(6, 5, 3)
    found = overlay(image, np.zeros((6, 5), np.float32))
    assert found.shape == (6, 5, 3)
    assert np.abs(found - image.mean(axis=2, keepdims=True)).max() <= 0.5
    grey = noise(6, 5, 1)
    same = overlay(grey, np.zeros((6, 5), np.float32))
    np.testing.assert_array_equal(same, grey.repeat(3, axis=2))


def test_heat_glows_in_proportion_to_the_hottest_or_to_a_quarter() -> None:
    image = np.full((1, 3, 1), 100, np.uint8)
    # 0.2 * 100 + 0.8 * (252, 255, 164): inferno's last colour, four fifths opaque
    hottest = [222, 224, 151]
    assert overlay(image, np.array([[0.5, 0, 0]], np.float32))[0, 0].tolist() == hottest
    assert overlay(image, np.array([[0.25, 0, 0]], np.float32))[0, 0].tolist() == hottest
    # Half of a quarter: 0.6 * 100 + 0.4 * (188, 55, 84), inferno's middle
    assert overlay(image, np.array([[0.125, 0, 0]], np.float32))[0, 0].tolist() == [135, 82, 94]
    assert overlay(image, np.array([[0.5, 0.25, 0]], np.float32))[0, 1].tolist() == [135, 82, 94]
