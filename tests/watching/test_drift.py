"""Drift: running figures against sums done afresh; a camera out of focus against a sharp one."""

import math
import threading
from collections.abc import Iterator

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFilter
from prometheus_client.parser import text_string_to_metric_families

from http_api.conftest import served
from serving import rendering
from serving.bundle import read
from serving.drift import Drift
from serving.images import convert
from serving.settings import BUNDLES, Settings

Pixels = npt.NDArray[np.uint8]


def test_nothing_is_said_before_there_is_a_code() -> None:
    assert Drift("normal").figures() is None


def test_a_few_codes_by_hand() -> None:
    drift = Drift("normal")
    drift.watch(np.array([[1, -1], [3, -1]], np.float32))  # means 2 and -1; variances 1 and 0
    shift, spread = drift.figures() or (0, 0)
    assert shift == pytest.approx(math.sqrt((4 + 1) / 2))
    assert spread == pytest.approx(math.sqrt((1 + 0) / 2))
    uniform = Drift("uniform")  # whose deviation is 1 / sqrt(3)
    uniform.watch(np.array([[1, -1], [3, -1]], np.float32))
    assert uniform.figures() == pytest.approx((shift * math.sqrt(3), spread * math.sqrt(3)))


def test_older_codes_count_for_less() -> None:
    rng = np.random.default_rng(5)
    batches = [
        rng.normal(mean, 1.5, (rows, 4)).astype(np.float32)
        for mean, rows in ((0, 700), (1, 1), (2, 300), (-1, 64))
    ]
    drift = Drift("normal")
    for batch in batches:
        drift.watch(batch)
    codes = np.concatenate(batches)
    # Added up once there are 256: the 700, the next two together, and the rest when asked.
    ages = np.concatenate([np.full(700, 301 + 64), np.full(301, 64), np.zeros(64)])
    weights = np.exp(-ages / 1_000)
    means = np.average(codes, axis=0, weights=weights)
    variances = np.average(codes**2, axis=0, weights=weights) - means**2
    wanted = math.sqrt(np.mean(means**2)), math.sqrt(np.mean(variances))
    assert drift.figures() == pytest.approx(wanted, rel=1e-5)
    assert drift.figures() == pytest.approx(wanted, rel=1e-5)  # asking changes nothing


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_codes_from_the_prior_do_not_drift(prior: str) -> None:
    rng = np.random.default_rng(7)
    drift = Drift("normal" if prior == "normal" else "uniform")
    for _ in range(100):
        codes = rng.normal(size=(50, 16)) if prior == "normal" else rng.uniform(-1, 1, (50, 16))
        drift.watch(codes.astype(np.float32))
    shift, spread = drift.figures() or (1, 0)
    assert shift < 0.08
    assert spread == pytest.approx(1, abs=0.03)


def test_engine_threads_may_watch_at_once() -> None:
    drift = Drift("normal")
    ones = np.ones((1, 3), np.float32)

    def watch() -> None:
        for _ in range(500):
            drift.watch(ones)

    threads = [threading.Thread(target=watch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drift.figures() == pytest.approx((1, 0), abs=1e-6)
    # All 2,000 rows, in chunks of 256 and a rest.
    kept = math.exp(-256 / 1_000)
    whole = 256 * (1 - kept**7) / (1 - kept)
    assert drift._weight == pytest.approx(whole * math.exp(-208 / 1_000) + 208)


@pytest.fixture(scope="module")
def line() -> Iterator[httpx.Client]:
    """A server of the model that ships."""
    with served(Settings(models=BUNDLES, default="fashion", threads=1)) as running:
        yield running.client


def told(client: httpx.Client) -> dict[str, float]:
    """The figures that tell of drift."""
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name.startswith(("biject_latent", "biject_scored", "biject_p_", "biject_flagged"))
    }


def watched(client: httpx.Client, images: Pixels) -> tuple[float, float, float]:
    """Mean p-value and share flagged at 0.05 of these images; the shift of codes after them."""
    before = told(client)
    headers = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
    for verb in ("score", "encode"):
        for start in range(0, len(images), 250):
            body = rendering.npy(images[start : start + 250])
            answer = client.post(f"/v1/models/default/{verb}", content=body, headers=headers)
            assert answer.status_code == 200, answer.text
    after = told(client)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown["biject_scored_images_total"] == len(images)
    return (
        grown["biject_p_values_total"] / len(images),
        grown["biject_flagged_images_total"] / len(images),
        after["biject_latent_shift"],
    )


def test_a_camera_out_of_focus_is_seen(line: httpx.Client, fashion: Pixels) -> None:
    spec = read(BUNDLES / "fashion/1").manifest.image
    assert spec is not None
    pictures = [Image.fromarray(pixels) for pixels in fashion[:1_000]]
    sharp = np.stack([convert(picture, spec) for picture in pictures])
    soft = [picture.filter(ImageFilter.GaussianBlur(1)) for picture in pictures]
    blurred = np.stack([convert(picture, spec) for picture in soft])

    p, flagged, shift = watched(line, sharp)
    assert p == pytest.approx(0.5, abs=0.03)
    assert flagged == pytest.approx(0.05, abs=0.025)
    assert shift < 0.08
    p, _, shift = watched(line, np.concatenate([blurred, blurred]))
    assert abs(p - 0.5) > 0.1
    assert shift > 0.2
