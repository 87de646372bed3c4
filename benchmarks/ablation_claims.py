"""The claims of the AEGAN article, each held against the records: a sentence with its verdict.

Lazarou 2020, arXiv:2004.05472: training is stable and modes are not lost, pictures are there early,
z and x map to each other both ways, real images can be morphed into each other.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from benchmarks.ablation_judge import collapsed
from benchmarks.records import Record

Runs = Mapping[str, Sequence[Record]]  # the seeds of each variant
SAME: Final = 1.2  # factors between its inverse and this are no difference
FAR_FROM_PRIOR: Final = 0.05  # KS; the prior itself has .02


def mean(own: Sequence[Record], key: str, place: int = -1) -> float:
    """Of the seeds that came so far; nan where none did."""
    found: list[float] = [
        one["curve"][place][key] for one in own if len(one["curve"]) > max(place, 0)
    ]
    return statistics.mean(found) if found else math.nan


def failed(own: Sequence[Record]) -> int:
    """Seeds that have collapsed at the end, or diverged before it."""
    return sum(bool(one["diverged"] or collapsed(one["curve"][-1])) for one in own)


def stability(runs: Runs) -> str | None:
    """Where a GAN collapses, AEGAN does not."""
    if not {"gan", "aegan"} <= runs.keys():
        return None
    lost = {name: failed(own) for name, own in runs.items()}
    words = ", ".join(
        f"{title} {lost[name]} of {len(runs[name])}"
        for name, title in (("gan", "GAN"), ("aegan", "AEGAN"), ("gan-r1", "GAN + R1"),
                            ("gan-spectral", "GAN + spectral norm"))
        if name in runs
    )  # fmt: skip
    if lost["aegan"]:
        verdict = "does not hold here: AEGAN collapses too"
    elif not lost["gan"]:
        verdict = "cannot be told here: the GAN without E does not collapse either"
    else:
        verdict = "holds here"
        held = [name for name in ("gan-r1", "gan-spectral") if lost.get(name) == 0]
        if held:
            verdict += ", but holding the critic of a plain GAN does as much"
    return _said("stable, no lost modes", verdict, f"collapsed at the end: {words}")


def early(runs: Runs) -> str | None:
    """Better samples than a GAN's after few updates."""
    return _against_gan(runs, 0, "good pictures early")


def late(runs: Runs) -> str | None:
    """The same at the end."""
    return _against_gan(runs, -1, "better pictures than a GAN's in the end")


def _against_gan(runs: Runs, place: int, claim: str) -> str | None:
    if not {"gan", "aegan"} <= runs.keys():
        return None
    ours, theirs = (mean(runs[name], "frechet", place) for name in ("aegan", "gan"))
    seconds = mean(runs["aegan"], "seconds", place)
    even = [
        float(np.interp(seconds, _along(one, "seconds"), _along(one, "frechet")))
        for one in runs["gan"]
        if one["curve"]
    ]
    step = runs["aegan"][0]["curve"][place]["step"]
    figures = f"Frechet after {step:,} updates: AEGAN {ours:,.0f}, GAN {theirs:,.0f}"
    if place == 0 and even:
        figures += f", and {statistics.mean(even):,.0f} in the CPU time AEGAN had"
    for name, title in (("gan-r1", "GAN + R1"), ("gan-spectral", "GAN + spectral norm"),
                        ("aegan-r1", "AEGAN + R1")):  # fmt: skip
        if name in runs:
            figures += f", {title} {mean(runs[name], 'frechet', place):,.0f}"
    return _said(claim, _verdict(theirs / ours), figures)


def _along(record: Record, key: str) -> list[float]:
    return [figures[key] for figures in record["curve"]]


def bijective(runs: Runs) -> str | None:
    """x comes back, z comes back, codes fill the prior."""
    if not {"ae", "egan", "aegan"} <= runs.keys():
        return None
    own = runs["aegan"]
    l1, cycle, ks = (mean(own, key) for key in ("l1", "cycle", "ks"))
    best = mean(runs["ae"], "l1")
    broken = [
        word
        for word, wrong in (
            (f"x comes back with {l1 / best:.1f} times the AE's error", l1 > SAME * best),
            ("less than half of z's variance comes back", cycle > 0.5),
            ("codes are not distributed as the prior", ks > FAR_FROM_PRIOR),
        )
        if wrong
    ]
    verdict = f"in part: {'; '.join(broken)}" if broken else "holds here"
    others = mean(runs["egan"], "cycle"), mean(runs["ae"], "ks")
    figures = (
        f"L1 {l1:.3f} (AE {best:.3f}), z-cycle {cycle:.2f} (EGAN {others[0]:.2f}, an E that says "
        f"0: 1), KS {ks:.3f} (AE {others[1]:.3f})"
    )
    return _said("one-to-one, both ways", verdict, figures)


def halfway(runs: Runs) -> str | None:
    """Between two real images lie images."""
    if not {"ae", "aegan"} <= runs.keys():
        return None
    ours, theirs = (mean(runs[name], "halfway") for name in ("aegan", "ae"))
    figures = f"Frechet halfway: AEGAN {ours:,.0f}, AE {theirs:,.0f}"
    if "aae" in runs:
        figures += f", AAE {mean(runs['aae'], 'halfway'):,.0f}"
    figures += f"; AEGAN's samples {mean(runs['aegan'], 'frechet'):,.0f}"
    return _said("morphs of real images, better than an AE's", _verdict(theirs / ours), figures)


def sharp(runs: Runs) -> str | None:
    """Not blurred as an autoencoder's."""
    if not {"aae", "aegan"} <= runs.keys():
        return None
    ours, theirs = (mean(runs[name], "sharpness") for name in ("aegan", "aae"))
    # how far off real images, on either side
    gain = abs(math.log(theirs)) / max(abs(math.log(ours)), 0.01)
    figures = f"sharpness: AEGAN {ours:.2f}, AAE {theirs:.2f}, real images 1"
    return _said("sharper than an autoencoder", _verdict(gain), figures)


def kept(runs: Runs) -> str | None:
    """What the article itself found lost: all eyes came back green."""
    if not {"ae", "aegan"} <= runs.keys():
        return None
    ours, theirs = (mean(runs[name], "kept") for name in ("aegan", "ae"))
    lost = (1 - ours) / max(1 - theirs, 0.01)
    verdict = "seen here" if lost > SAME else "not seen here"
    figures = f"class kept in G(E(x)): AEGAN {ours:.0%}, AE {theirs:.0%}"
    return _said("its weakness, that x̃ loses what x was", verdict, figures)


CLAIMS: Final[tuple[Callable[[Runs], str | None], ...]] = (
    stability, early, late, bijective, halfway, sharp, kept,
)  # fmt: skip


def _verdict(gain: float) -> str:
    """Of how many times better AEGAN is."""
    if gain > SAME:
        return "holds here"
    return "no difference here" if gain > 1 / SAME else "does not hold here"


def _said(claim: str, verdict: str, figures: str) -> str:
    return f"- **{claim[0].upper()}{claim[1:]}**: {verdict}. {figures[0].upper()}{figures[1:]}."
