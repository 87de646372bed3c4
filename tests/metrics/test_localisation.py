"""Pixel AUROC and PRO, beside scikit-learn and beside a plain reading of the definition."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from models.metrics.localisation import per_region_overlap, pixel_auroc


def scene(seed: int) -> tuple[list[Any], list[Any]]:
    """Three images of different sizes, two of them with defects, and noisy heat that sees some."""
    rng = np.random.default_rng(seed)
    masks = [np.zeros(shape, bool) for shape in ((20, 30), (25, 18), (12, 12))]
    masks[0][2:8, 3:9] = True
    masks[0][8, 9] = True  # touches that at a corner: the same region
    masks[0][15:17, 20:22] = True
    masks[1][5:6, 2:14] = True
    heat = [rng.random(mask.shape) + 0.6 * mask * rng.random(mask.shape) for mask in masks]
    heat = [np.round(one, 2) for one in heat]  # ties
    heat[0][15:17, 20:22] -= 0.5  # one region that is hardly seen
    return heat, masks


REGIONS = (  # of `scene`: image, pixels
    (0, [*((y, x) for y in range(2, 8) for x in range(3, 9)), (8, 9)]),
    (0, [(15, 20), (15, 21), (16, 20), (16, 21)]),
    (1, [(5, x) for x in range(2, 14)]),
)


def pro_by_hand(heat: list[Any], masks: list[Any], limit: float) -> float:
    """Threshold by threshold, region by region."""
    sound = np.concatenate([one[~mask] for one, mask in zip(heat, masks, strict=True)])
    points = [(0.0, 0.0)]
    for t in sorted(set(np.concatenate([one.ravel() for one in heat]).tolist()), reverse=True):
        shares = [np.mean([heat[i][y, x] >= t for y, x in pixels]) for i, pixels in REGIONS]
        points.append((float(np.mean(sound >= t)), float(np.mean(shares))))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 >= limit:
            break
        end = min(x1, limit)
        y_end = y1 if x1 <= limit else y0 + (y1 - y0) * (end - x0) / (x1 - x0)
        area += (end - x0) * (y0 + y_end) / 2
    return area / limit


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_pro_is_what_its_definition_says(seed: int, limit: float) -> None:
    heat, masks = scene(seed)
    assert per_region_overlap(heat, masks, limit=limit) == pytest.approx(
        pro_by_hand(heat, masks, limit), abs=1e-12
    )


def test_pixel_auroc_is_that_of_all_pixels_together() -> None:
    heat, masks = scene(2)
    wanted = roc_auc_score(
        np.concatenate([mask.ravel() for mask in masks]),
        np.concatenate([one.ravel() for one in heat]),
    )
    assert pixel_auroc(heat, masks) == pytest.approx(wanted)


def test_perfect_blind_and_upside_down() -> None:
    _, masks = scene(0)
    perfect = [mask.astype(float) for mask in masks]
    assert (pixel_auroc(perfect, masks), per_region_overlap(perfect, masks)) == (1, 1)
    blind = [np.zeros(mask.shape) for mask in masks]
    assert pixel_auroc(blind, masks) == 0.5
    assert per_region_overlap(blind, masks) == pytest.approx(0.15)
    assert per_region_overlap([-one for one in perfect], masks) == 0


def test_a_large_defect_weighs_no_more_than_a_small_one() -> None:
    mask = np.zeros((30, 30), bool)
    mask[:20, :20] = mask[25, 25] = True
    only_large, only_small = mask.astype(float), mask.astype(float)
    only_large[25, 25], only_small[:20, :20] = -1, -1
    large, small = (per_region_overlap([one], [mask]) for one in (only_large, only_small))
    assert large == pytest.approx(small)
    assert pixel_auroc([only_large], [mask]) > 0.99 > 0.1 > pixel_auroc([only_small], [mask])


@pytest.mark.parametrize("fill", [True, False])
def test_one_kind_of_pixels_says_nothing(fill: bool) -> None:
    masks = [np.full((4, 4), fill)]
    for metric in (pixel_auroc, per_region_overlap):
        with pytest.raises(ValueError, match=r"0 normal|0 abnormal|defective"):
            metric([np.zeros((4, 4))], masks)
        with pytest.raises(ValueError, match="shapes"):
            metric([np.zeros((4, 5))], masks)
