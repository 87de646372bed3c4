"""How an image is brought to a model's size, against a Lanczos filter written out in numpy."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from serving.errors import Unprocessable
from serving.images import ImageSpec, convert, fit_array

Pixels = npt.NDArray[np.uint8]
RNG = np.random.default_rng(3)


def noise(height: int, width: int, channels: int = 3) -> Pixels:
    return RNG.integers(0, 256, (height, width, channels), np.uint8)


def spec(height: int, width: int, **options: Any) -> ImageSpec:
    return ImageSpec(height=height, width=width, **{"channels": 3, **options})


def lanczos(pixels: Pixels, size: int, axis: int, begin: float, end: float) -> Pixels:
    """One pass of a Lanczos filter (a = 3) from [begin, end) to `size` pixels, rounded to 8 bits.

    Made smaller, an image is filtered with the kernel stretched as far as the pixels are, so that
    nothing between them is skipped.
    """
    scale = (end - begin) / size
    stretch = max(scale, 1.0)
    centres = begin + (np.arange(size) + 0.5) * scale
    x = (np.arange(pixels.shape[axis]) + 0.5 - centres[:, np.newaxis]) / stretch
    weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    filtered = np.moveaxis(np.tensordot(weights, pixels, (1, axis)), 0, axis)
    levels: Pixels = np.rint(filtered.clip(0, 255)).astype(np.uint8)
    return levels


def resized(
    pixels: Pixels, height: int, width: int, box: tuple[float, float, float, float] | None = None
) -> list[Pixels]:
    """The part in `box` (left, top, right, bottom) at the new size: across first, and down first.

    Either is right.  They differ by the rounding in between, and which is quicker depends on the
    sizes: Pillow chooses.
    """
    left, top, right, bottom = box or (0, 0, pixels.shape[1], pixels.shape[0])
    return [
        lanczos(lanczos(pixels, width, 1, left, right), height, 0, top, bottom),
        lanczos(lanczos(pixels, height, 0, top, bottom), width, 1, left, right),
    ]


def check_close(found: Pixels, wanted: list[Pixels]) -> None:
    """Equal to one of them, but for a level here and there that fixed-point weights round away."""
    assert {found.shape} == {each.shape for each in wanted}
    differences = [np.abs(found.astype(int) - each) for each in wanted]
    assert min(difference.max() for difference in differences) <= 1
    assert min(difference.mean() for difference in differences) < 0.02


SIZES = [(20, 30), (5, 4), (8, 6), (3, 100), (64, 1), (1, 1)]  # h, w of what is given


@pytest.mark.parametrize("size", SIZES)
def test_stretch_fills_the_whole_and_ignores_proportions(size: tuple[int, int]) -> None:
    image = noise(*size)
    check_close(fit_array(image, spec(8, 6)), resized(image, 8, 6))


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((20, 30), (7.5, 0, 22.5, 20)),  # twice as wide as wanted: a quarter is lost on each side
        ((40, 10), (0, 40 / 3, 10, 80 / 3)),  # too high: 10 * 8 / 6 rows remain
        ((14, 12), (0.75, 0, 11.25, 14)),  # upright, and yet too wide
        ((4, 3), (0, 0, 3, 4)),  # the right shape, enlarged
        ((16, 12), (0, 0, 12, 16)),
        ((3, 100), (48.875, 0, 51.125, 3)),
    ],
)
def test_crop_covers_the_whole_from_the_middle(
    size: tuple[int, int], box: tuple[float, float, float, float]
) -> None:
    image = noise(*size)
    check_close(fit_array(image, spec(8, 6, fit="crop")), resized(image, 8, 6, box))


def test_crop_cuts_without_resampling_where_one_side_fits() -> None:
    wide, high = noise(8, 11), noise(13, 6)
    np.testing.assert_array_equal(fit_array(wide, spec(8, 6, fit="crop")), wide[:, 2:8])
    np.testing.assert_array_equal(fit_array(high, spec(8, 6, fit="crop")), high[2:10])


@pytest.mark.parametrize(
    ("size", "inner", "corner"),
    [
        ((16, 6), (8, 3), (0, 1)),  # halved: 3 columns, with 1 to the left and 2 to the right
        ((20, 30), (4, 6), (2, 0)),
        ((14, 12), (7, 6), (0, 0)),  # upright, and yet too wide
        ((3, 100), (1, 6), (3, 0)),  # 0.18 rows, but one at least
        ((64, 1), (8, 1), (0, 2)),
        ((9, 6), (8, 5), (0, 0)),  # 5.33 columns
    ],
)
def test_pad_shrinks_what_is_larger(
    size: tuple[int, int], inner: tuple[int, int], corner: tuple[int, int]
) -> None:
    image = noise(*size)
    rows, columns = (slice(at, at + length) for at, length in zip(corner, inner, strict=True))
    found = fit_array(image, spec(8, 6, fit="pad", background=7))
    check_close(found[rows, columns], resized(image, *inner))
    outside = np.ones((8, 6), bool)
    outside[rows, columns] = False
    assert (found[outside] == 7).all()


@pytest.mark.parametrize("size", [(28, 28), (1, 1), (31, 32), (32, 9)])
def test_pad_never_enlarges(size: tuple[int, int]) -> None:
    image = noise(*size, 1)
    top, left = (32 - size[0]) // 2, (32 - size[1]) // 2
    wanted = np.zeros((32, 32, 1), np.uint8)
    wanted[top : top + size[0], left : left + size[1]] = image
    found = fit_array(image, spec(32, 32, channels=1, fit="pad", background=0))
    np.testing.assert_array_equal(found, wanted)


def test_the_background_has_one_level_or_one_for_each_channel() -> None:
    image = noise(1, 1)
    one = fit_array(image, spec(1, 3, fit="pad", background=9))
    each = fit_array(image, spec(1, 3, fit="pad", background=(1, 2, 3)))
    assert one[0, 0].tolist() == [9, 9, 9]
    assert each[0, 2].tolist() == [1, 2, 3]


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_of_the_right_size_is_left_alone(fit: Any, channels: int) -> None:
    image = noise(8, 6, channels)
    model = spec(8, 6, channels=channels, fit=fit)
    assert fit_array(image, model) is image
    picture = Image.fromarray(image[:, :, 0] if channels == 1 else image)
    np.testing.assert_array_equal(convert(picture, model), image)


def test_arrays_come_in_every_shape_an_image_has() -> None:
    grey, rgb = noise(8, 6, 1), noise(8, 6, 3)
    one, three = spec(8, 6, channels=1), spec(8, 6)
    np.testing.assert_array_equal(fit_array(grey[:, :, 0], one), grey)
    np.testing.assert_array_equal(fit_array(grey[:, :, 0], three), grey.repeat(3, axis=2))
    np.testing.assert_array_equal(fit_array(grey, three), grey.repeat(3, axis=2))
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    assert np.abs(fit_array(rgb, one)[:, :, 0] - luma).max() < 0.51
    opaque = np.concatenate([rgb, np.full((8, 6, 1), 255, np.uint8)], axis=2)
    np.testing.assert_array_equal(fit_array(opaque, three), rgb)
    clear = np.concatenate([rgb, np.zeros((8, 6, 1), np.uint8)], axis=2)
    assert (fit_array(clear, three) == 255).all()


def test_arrays_may_be_strided() -> None:
    image = noise(16, 12)
    wanted = fit_array(image[::2, ::-1].copy(), spec(4, 4))
    np.testing.assert_array_equal(fit_array(image[::2, ::-1], spec(4, 4)), wanted)
    np.testing.assert_array_equal(
        fit_array(np.asfortranarray(image)[::2, ::-1], spec(4, 4)), wanted
    )


@pytest.mark.parametrize(
    "shape", [(8,), (8, 6, 2), (8, 6, 5), (1, 8, 6, 3), (0, 6, 3), (8, 0), (), (8, 6, 0)]
)
def test_arrays_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(Unprocessable, match=r"pixels must be \[h, w\]"):
        fit_array(np.zeros(shape, np.uint8), spec(8, 6))


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint16, bool])
def test_arrays_of_other_types_are_refused(dtype: Any) -> None:
    with pytest.raises(Unprocessable, match="pixels must be uint8"):
        fit_array(np.zeros((8, 6, 3), dtype), spec(8, 6))


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"height": 0}, "height must be a whole number"),
        ({"width": 70_000}, "width must be"),
        ({"width": 6.0}, "width must be"),
        ({"height": True}, "height must be"),
        ({"channels": 4}, "channels must be 1 or 3"),
        ({"channels": True}, "channels must be 1 or 3"),
        ({"fit": "cover"}, "fit must be one of stretch, pad, crop"),
        ({"filter": "nearest"}, "filter must be lanczos"),
        ({"background": -1}, "background must be"),
        ({"background": 256}, "background must be"),
        ({"background": (1, 2)}, "background must be"),
        ({"background": ()}, "background must be"),
        ({"background": 0.5}, "background must be"),
        ({"channels": 1, "background": (1, 2, 3)}, "or 1 of them"),
    ],
)
def test_a_spec_checks_itself(wrong: dict[str, Any], complaint: str) -> None:
    good: dict[str, Any] = {"height": 8, "width": 6, "channels": 3}
    assert ImageSpec(**good).shape == (8, 6, 3)
    with pytest.raises(ValueError, match=complaint):
        ImageSpec(**good | wrong)
