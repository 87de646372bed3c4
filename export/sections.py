"""The figures of an evaluation in words: headings and rows, whatever they are printed on."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

Json = Mapping[str, Any]
Row = tuple[str, ...]

BASELINES: Final = {
    "pca_l2": "PCA, l2",
    "pca_l2s": "PCA, l2s",
    "pca_peak": "PCA, peak",
    "pca_blob": "PCA, blob",
    "isolation_forest": "isolation forest",
}


class Section(NamedTuple):
    """A heading and its rows, each of what is measured and its values."""

    title: str
    rows: list[Row]
    heads: Row = ("", "")


def sections(figures: Json) -> Iterator[Section]:
    """The figures in words, in the order of interest; what was not measured is not there."""
    data = figures["data"]
    items = data.get("items", "images")
    yield _reconstruction(figures["reconstruction"], data["test"], items)
    if "one_nn" in figures:
        yield _neighbours(figures["one_nn"])
    yield _codes(figures["codes"])
    if "cycle" in figures:
        yield _cycle(figures["cycle"])
    if "anomaly" in figures:
        found = figures["anomaly"]
        yield _detection(found, f"{items} of {data['name']} against", f"of {found['against']}")
    if "one_class" in figures:
        found = figures["one_class"]
        yield _detection(found, f"{items} of {', '.join(found['classes'])} against", "of the rest")
    if "frames" in figures:
        yield from _frames(figures["frames"])
    if "calibration" in figures:
        yield _flagged(figures["calibration"], items)
    if "samples" in figures:
        yield _samples(figures["samples"], figures["seed"])
    for space in figures.get("likeness", {}).get("spaces", ()):
        yield _likeness(space, figures["likeness"])
    if "morphs" in figures:
        yield _morphs(figures["morphs"])


def _reconstruction(found: Json, count: int, items: str) -> Section:
    whole = ", of 1" if items == "images" else ""
    rows: list[Row] = [(f"mean absolute error{whole}", f"{found['l1']:.4f}")]
    if "trained_on" in found:
        seen = found["trained_on"]
        rows.append((f"the same of {seen['count']:,} images trained on", f"{seen['l1']:.4f}"))
    if "own_to_other" in found:
        rows.append(("L2 distance, own / another image's", f"{found['own_to_other']:.4f}"))
    if "ssim" in found:
        rows.append(("SSIM, of 1", f"{found['ssim']:.4f}"))
    if "pca" in found:
        pca = found["pca"]
        name = f"PCA-{pca['size']}"
        rows.append((f"{name}, mean absolute error", f"{pca['l1']:.4f}"))
        if "own_to_other" in pca:
            rows.append((f"{name}, own / another image's", f"{pca['own_to_other']:.4f}"))
        if "ssim" in pca:
            rows.append((f"{name}, SSIM", f"{pca['ssim']:.4f}"))
    return Section(f"Reconstruction of {count:,} {items}", rows)


def _neighbours(found: Json) -> Section:
    names = {
        "encoder": "E(x)",
        "pixels": "raw pixels",
        "pca": f"PCA-{found['pca_size']}",
        "random_encoder": "E with random weights",
        "hidden": "E's last hidden layer",
        "random_hidden": "that of E with random weights",
    }
    rows: list[Row] = [(name, f"{found[key]:.4f}") for key, name in names.items() if key in found]
    title = "1-NN class accuracy, {queries:,} test images among {references:,} training images"
    return Section(title.format_map(found), rows)


def _codes(found: Json) -> Section:
    prior = found["prior"]
    rows: list[Row] = [
        ("mean", f"{_range(found['mean'])}  (prior {prior['mean']:.2f})"),
        ("standard deviation", f"{_range(found['std'])}  (prior {prior['std']:.2f})"),
    ]
    if "ks" in found:
        ks = found["ks"]
        rows.append(
            (
                "Kolmogorov-Smirnov to the prior, mean .. largest",
                f"{ks['mean']:.3f} .. {ks['largest']:.3f}  (prior {ks['of_prior']:.3f})",
            )
        )
    if "mmd" in found:
        mmd = found["mmd"]
        rows.append(
            (
                f"MMD^2 to the prior, {mmd['rows']:,} codes",
                f"{mmd['codes']:.5f}  (prior {mmd['prior']:.5f})",
            )
        )
    return Section("Codes E(x), smallest and largest over the dimensions", rows)


def _cycle(found: Json) -> Section:
    rows: list[Row] = []
    if "float" in found:
        rows.append(("in floating point", f"{found['float']:.4f}"))
    rows += [
        ("after rounding to 8 bits", f"{found['rounded']:.4f}"),
        ("to another's code", f"{found['another']:.4f}"),
        ("if E always gave 0", f"{found['variance']:.4f}"),
    ]
    return Section(f"Cycle, mean (z - E(G(z)))^2 over {found['count']:,} codes", rows)


def _detection(found: Json, normal: str, abnormal: str) -> Section:
    precision = found.get("average_precision", {})
    rows: list[Row] = []
    for term, value in found["auroc"].items():
        name = f"{term}{' (default)' if term == found['default'] else ''}"
        rows.append((name, f"{value:.4f}", _number(precision.get(term))))
    for key, name in BASELINES.items():
        if key in found:
            rows.append((name, f"{found[key]:.4f}", _number(found.get(f"{key}_average_precision"))))
    if "abnormal_share" in found:
        rows.append(("a score that says nothing", "0.5000", f"{found['abnormal_share']:.4f}"))
    title = f"Detection, {found['normal']:,} {normal} {found['abnormal']:,} {abnormal}"
    return Section(title, rows, ("", "AUROC", "average precision"))


def _frames(found: Json) -> Iterator[Section]:
    """Whole frames, by the worst of their tiles."""
    cut = f"tiles of {found['tile']}, stride {found['stride']}"
    cut += ", in a region" if "roi" in found else ""
    pca = found.get("pca", {"size": 0, "auroc": {}})
    kinds = found["kinds"].values()
    rows: list[Row] = []
    for term, value in {**found["auroc"], **pca["auroc"]}.items():
        mean = sum(kind["auroc"][term] for kind in kinds) / len(kinds)
        name = f"PCA-{pca['size']}, {term.removeprefix('pca_')}" if term in pca["auroc"] else term
        name += " (default)" if term == found["default"] else ""
        rows.append((name, f"{value:.4f}", f"{mean:.4f}"))
    counts = f"{found['normal']:,} normal frames against {found['abnormal']:,} others"
    heads = ("", "AUROC", "mean over kinds")
    yield Section(f"Detection, {counts}, {cut}", rows, heads)
    same = f"pca_{found['default']}"
    beside = max(pca["auroc"], key=lambda term: (term == same, pca["auroc"][term]), default=None)
    rows = [
        (
            f"{name} ({kind['count']})",
            f"{kind['auroc'][found['default']]:.4f}",
            "" if beside is None else f"{kind['auroc'][beside]:.4f}",
        )
        for name, kind in found["kinds"].items()
    ]
    label = "PCA" if beside is None else f"PCA, {beside.removeprefix('pca_')}"
    yield Section("AUROC of each kind of frame", rows, ("", found["default"], label))
    if "pixel_auroc" in found:
        names = {"pixel_auroc": "pixel AUROC", "pro": f"PRO, to a rate of {found['pro_limit']:g}"}
        rows = [
            (name, f"{found[key]['heat']:.4f}", _number(found[key].get("pca")))
            for key, name in names.items()
        ]
        yield Section("Heat maps against masks", rows, ("", "heat", "PCA"))
    if "flagged" in found:
        flagged = found["flagged"]
        rows = [
            (f"asked {float(rate):.0%}", f"{share['normal']:.2%}", f"{share['abnormal']:.2%}")
            for rate, share in flagged["shares"].items()
        ]
        title = (
            f"Share of frames flagged by {flagged['term']}, calibrated with {flagged['count']:,}"
        )
        yield Section(title, rows, ("", "normal", "others"))


def _flagged(found: Json, items: str) -> Section:
    rows: list[Row] = [
        (f"asked {float(rate):.0%}", f"{share:.2%}") for rate, share in found["shares"].items()
    ]
    return Section(
        f"Share of {found['images']:,} normal {items} flagged by {found['term']}, "
        f"calibrated with {found['count']:,}",
        rows,
    )


def _samples(found: Json, seed: int) -> Section:
    shares = ", ".join(f"{name} {share:.1%}" for name, share in found["shares"].items())
    ends = found["smallest_share"], found["largest_share"]
    rows: list[Row] = [
        ("classes covered", f"{found['classes_covered']} of {len(found['shares'])}"),
        ("smallest and largest share", " .. ".join(f"{end:.1%}" for end in ends)),
        ("mean top confidence / that on real", f"{found['confidence_ratio']:.3f}"),
        ("shares", shares),
    ]
    if "real" in found:
        real = found["real"]
        for key, name in (("inception_score", "Inception Score"), ("mode_score", "Mode Score")):
            said = f"{found[key]:.3f}  (real images {real[key]:.3f})"
            rows.append((f"{name}, by this classifier", said))
    return Section(
        f"{found['count']:,} samples (seed {seed}) by a classifier that is right on "
        f"{found['classifier_accuracy']:.1%} of real images",
        rows,
    )


def _likeness(space: Json, found: Json) -> Section:
    all_, some, few = (f"{found[key]:,}" for key in ("rows", "subset", "transport"))
    names = {
        "frechet": (f"Frechet distance, squared ({all_})", ".4g"),
        "sliced_wasserstein": (f"sliced Wasserstein distance ({all_})", ".4g"),
        "wasserstein": (f"Wasserstein distance ({few})", ".4g"),
        "mmd": (f"MMD^2, unbiased ({some})", ".5f"),
        "two_sample_real": (f"1-NN two-sample accuracy, real half ({some})", ".3f"),
        "two_sample_samples": ("1-NN two-sample accuracy, samples' half", ".3f"),
        "precision": (f"precision, k = 3 ({some})", ".3f"),
        "recall": ("recall", ".3f"),
        "density": (f"density, k = 5 ({some})", ".3f"),
        "coverage": ("coverage", ".3f"),
    }
    real = space.get("real", {})
    rows: list[Row] = [
        (name, _number(space["samples"][key], form), _number(real.get(key), form))
        for key, (name, form) in names.items()
        if key in space["samples"]
    ]
    return Section(
        f"Samples in {space['name']}, {space['dimensions']:,} dimensions (images of each set)",
        rows,
        ("", "samples", "real images"),
    )


def _morphs(found: Json) -> Section:
    names = {"pixels": "in raw pixels", "classifier": "in classifier features"}
    rows: list[Row] = [
        (name, f"{found[key]:.3f}", f"{found[f'{key}_fade']:.3f}")
        for key, name in names.items()
        if key in found
    ]
    title = f"Largest / mean step of {found['paths']} morphs of {found['frames']} frames"
    return Section(title, rows, ("", "morphs", "cross-fades"))


def _number(value: float | None, form: str = ".4f") -> str:
    return "" if value is None else format(value, form)


def _range(ends: Iterable[float]) -> str:
    return " .. ".join(f"{end:+.3f}" for end in ends)
