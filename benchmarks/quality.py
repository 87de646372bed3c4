"""How well pairs tell abnormal items from normal ones, beside what needs no network.

    python -m benchmarks.quality --data DATA

One JSON line for each case and method in benchmarks/results/quality.jsonl; what is there is not
measured again.  `--write` makes docs/quality.md of it, whole or not.  With `--runs` what is trained
stays there, and a training that was stopped goes on from its latest checkpoint.
"""

import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import numpy.typing as npt

from benchmarks import quality_neighbours
from benchmarks.quality_methods import AGGREGATORS, METHODS, OF, TRAINED, Scores
from benchmarks.quality_sources import SOURCES, Case, Sides
from benchmarks.quality_tables import DOCUMENT, document, tables
from benchmarks.records import Record, Records, chosen
from models.metrics.auroc import auroc
from models.metrics.average_precision import average_precision
from serving.scoring import threshold

FPR: Final = 0.05  # of the threshold that validation gives
SETS: Final = (*SOURCES, quality_neighbours.NAME)


@click.command()
@click.option(
    "--data", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
    default=lambda: os.environ.get("BIJECT_DATA", "data"),
    help="Where the sets lie: tabular/, mnist/, fashion-mnist/.  [default: $BIJECT_DATA]",
)  # fmt: skip
@click.option("--run", metavar="NAME", default="quality", help="What these figures go by.")
@click.option(
    "--only", "sets", metavar="SET,...", default=",".join(SETS), help=f"Of {', '.join(SETS)}.",
)  # fmt: skip
@click.option("--methods", metavar="METHOD,...", default=",".join(METHODS))
@click.option("--parts", metavar="N", type=click.IntRange(min=1), help="The first N of each set.")
@click.option(
    "--runs", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
    help="Where trained pairs stay.  [default: nowhere]",
)  # fmt: skip
@click.option("--table", "only_table", is_flag=True, help="Measure nothing.")
@click.option("--write", is_flag=True, help="Write docs/quality.md.")
def main(
    data: Path,
    run: str,
    sets: str,
    methods: str,
    parts: int | None,
    runs: Path | None,
    only_table: bool,
    write: bool,
) -> None:
    """Measure what is missing of a run, and print its tables."""
    records = Records("quality", run)
    wanted, compared = chosen(sets, SETS), chosen(methods, list(METHODS))
    for name in () if only_table else wanted:
        if name == quality_neighbours.NAME:
            quality_neighbours.measure(records, data, runs)
        else:
            cases = (replace(case, runs=runs) for case in SOURCES[name](data))
            measure(records, cases, compared, parts)
    click.echo(records.told(tables, only_table=only_table, last=True))
    if write:
        tiles = Records("inspection").last()
        DOCUMENT.write_text(document(records.of_run(run), tiles), encoding="utf-8")
        click.echo(f"wrote {DOCUMENT}", err=True)


def measure(
    records: Records, cases: Iterable[Case], methods: Sequence[str], parts: int | None
) -> None:
    """Append what `records` lack of the first `parts` cases; None: of all."""
    for number, case in enumerate(cases):
        if number == parts:
            return
        for method in methods:
            if method in TRAINED and method not in case.config["pairings"]:
                continue
            known = {"set": case.set, "part": case.part, "method": method}
            if not records.has(**known):
                click.echo(f"{case.set}, {case.part}: {method}", err=True)
                records.append(**known, **figures(case, method))


def figures(case: Case, method: str) -> Record:
    """What one method reaches; the term is the best on the validation part, by AUROC."""
    began = time.monotonic()
    score = METHODS[method](case)
    fitted = time.monotonic() - began
    judged = score(case.valid.items)
    known = {name: _auroc(values, case.valid) for name, values in judged.items()}
    term = max(known, key=lambda name: known[name])
    limit = threshold(np.sort(_of(judged, term)[~case.valid.abnormal]), FPR)
    every = score(case.test.items)
    scores = _of(every, term)
    found: dict[str, Any] = {
        "term": term,
        "valid_auroc": known[term],
        "trained": method in TRAINED,
        "items": len(case.train),
        "test": told_apart(scores, case.test, limit),
        "by": _by_aggregator(every, known, case.test),
        "fit_seconds": round(fitted, 1),
        "seconds": round(time.monotonic() - began, 1),
    }
    if not case.test.fresh.all():
        once = Sides(
            items=case.test.items[case.test.fresh],
            abnormal=case.test.abnormal[case.test.fresh],
            count=np.ones(int(case.test.fresh.sum()), np.int64),
            fresh=case.test.fresh[case.test.fresh],
        )
        found["distinct"] = told_apart(scores[case.test.fresh], once, limit)
    return found


def _by_aggregator(scores: Scores, known: Mapping[str, float], test: Sides) -> Record:
    """AUROC and F1 by each aggregator: of PCA with the components that validation prefers."""
    found: Record = {}
    for aggregator in AGGREGATORS:
        names = [name for name in known if name.partition(OF)[0] == aggregator]
        if names:
            best = max(names, key=lambda name: known[name])
            told = told_apart(_of(scores, best), test, None)
            found[aggregator] = {key: told[key] for key in ("auroc", "f1")}
    return found


def told_apart(scores: npt.NDArray[Any], sides: Sides, limit: float | None) -> Record:
    """Figures of scores [N].

    `f1` has the threshold of the papers, which know how many of the test items are abnormal;
    `f1_calibrated` that which flags FPR of the normal validation items.
    """
    every = np.repeat(scores, sides.count)
    abnormal = np.repeat(sides.abnormal, sides.count)
    flagged = every > (math.inf if limit is None else limit)
    pairs = {"normal": every[~abnormal], "abnormal": every[abnormal]}
    return {
        "normal": int((~abnormal).sum()),
        "abnormal": int(abnormal.sum()),
        "auroc": auroc(**pairs),
        "average_precision": average_precision(**pairs),
        "f1": f1(_most(every, int(abnormal.sum())), abnormal),
        "f1_calibrated": f1(flagged, abnormal),
        "fpr_calibrated": float(flagged[~abnormal].mean()),
    }


def f1(flagged: npt.NDArray[np.bool_], abnormal: npt.NDArray[np.bool_]) -> float:
    """2 TP / (2 TP + FP + FN); 0 where nothing is right."""
    right = int((flagged & abnormal).sum())
    return 2 * right / max(1, int(flagged.sum()) + int(abnormal.sum()))


def _most(scores: npt.NDArray[Any], count: int) -> npt.NDArray[np.bool_]:
    """The `count` highest scores, and all that equal the last of them."""
    highest: npt.NDArray[np.bool_] = scores >= np.partition(scores, -count)[-count]
    return highest


def _auroc(values: npt.NDArray[Any], sides: Sides) -> float:
    return auroc(normal=values[~sides.abnormal], abnormal=values[sides.abnormal])


def _of(scores: Scores, term: str) -> npt.NDArray[np.float64]:
    return scores[term].astype(np.float64)


if __name__ == "__main__":
    main()
