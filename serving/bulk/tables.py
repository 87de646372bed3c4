"""The rows of an answer as Arrow tables: `path`, the verb's columns, `error`.

A row that has an error has nothing else but its path.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from serving import rendering
from serving.bundle import Manifest
from serving.errors import ComputeFailed
from serving.images import Pixels
from serving.local import LocalPair
from serving.results import Floats

WHAT: Final = {"encode": "latents", "score": "scores", "reconstruct": "reconstructions"}


def schema(verb: str, manifest: Manifest) -> pa.Schema:
    """The columns of the verb's answers."""
    code = ("code", pa.list_(pa.float32(), manifest.latent.size))
    columns: Mapping[str, list[tuple[str, pa.DataType]]] = {
        "encode": [code],
        "score": [
            ("score", pa.float32()),
            ("p_value", pa.float64()),
            ("anomalous", pa.bool_()),
            *((term, pa.float32()) for term in manifest.score.terms),
        ],
        "reconstruct": [("image", pa.binary()), ("l1", pa.float32()), code],
    }
    return pa.schema([("path", pa.string()), *columns[verb], ("error", pa.string())])


def answered(
    pair: LocalPair, verb: str, parameters: Mapping[str, Any], rows: Pixels
) -> tuple[pa.Table | None, list[str | None]]:
    """The verb's columns of the rows that can be computed, and what is wrong with each row.

    Where the engine fails on all of them together, each is asked for alone: the guilty one is
    found, and the others have their answers.
    Raises ComputeFailed if it fails on each of several.
    """
    if not len(rows):
        return None, []
    try:
        return _columns(pair, verb, parameters, rows), [None] * len(rows)
    # What onnxruntime raises has no base class of its own.
    except Exception as error:
        if len(rows) == 1:
            reason = " ".join(str(error).split()) or repr(error)
            return None, [f"the engine failed on it: {reason[:300]}"]
    answers = [answered(pair, verb, parameters, rows[i : i + 1]) for i in range(len(rows))]
    tables = [table for table, _ in answers if table is not None]
    failures = [reason for _, (reason,) in answers]
    if not tables:  # no image is to blame
        raise ComputeFailed(f"on each of {len(rows)} images: {failures[0]}")
    return pa.concat_tables(tables), failures


def joined(
    form: pa.Schema, paths: Sequence[str], made: pa.Table | None, errors: Sequence[str | None]
) -> pa.Table:
    """A table of `form`: `made` has a row for each path that has no error, in their order."""
    places: list[int | None] = []
    good = 0
    for error in errors:
        places.append(good if error is None else None)
        good += error is None
    filled = form.empty_table().select(form.names[1:-1]) if made is None else made
    spread = filled.take(pa.array(places, pa.int64()))
    columns = [pa.array(paths, pa.string()), *spread.columns, pa.array(errors, pa.string())]
    return pa.table(columns, form)


def _columns(pair: LocalPair, verb: str, parameters: Mapping[str, Any], rows: Pixels) -> pa.Table:
    form = pa.schema(list(schema(verb, pair.manifest))[1:-1])
    columns: list[Any]
    if verb == "encode":
        columns = [_codes(pair.encode(rows))]
    elif verb == "score":
        scored = pair.score(rows, **parameters)
        verdict = scored.verdict
        columns = [
            scored.terms[:, scored.column],
            verdict.p_values,
            verdict.anomalous,
            *scored.terms.T,
        ]
    else:
        made = pair.reconstruct(rows, **parameters)
        columns = [[rendering.png(one) for one in made.items], made.l1, _codes(made.latents)]
    arrays = [
        one if isinstance(one, pa.Array) else pa.array(one, field.type)
        for one, field in zip(columns, form, strict=True)
    ]
    return pa.table(arrays, form)


def _codes(latents: Floats) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(latents)), latents.shape[1])
