"""1-NN class accuracy: do neighbours in a feature space belong to the same class?

The measure of Donahue, Kraehenbuehl and Darrell 2017, arXiv:1605.09782, table 1 (BiGAN): each
query takes the label of its nearest reference by Euclidean distance.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import pairwise_distances_argmin


def one_nn_accuracy(
    *,
    reference: npt.NDArray[Any],
    reference_labels: npt.NDArray[np.integer[Any]],
    queries: npt.NDArray[Any],
    query_labels: npt.NDArray[np.integer[Any]],
) -> float:
    """Share of queries [M, D] whose nearest reference [N, D] has their label, in 0..1.

    Features of any further axes are flattened.  Compared in float32; of equally near references
    the first counts.
    Raises ValueError if a set is empty or has not one label per row.
    """
    for rows, labels in ((reference, reference_labels), (queries, query_labels)):
        if len(rows) == 0 or labels.shape != (len(rows),):
            raise ValueError(f"{len(rows)} rows with labels of shape {labels.shape}")
    nearest = pairwise_distances_argmin(_flat(queries), _flat(reference))
    return float(np.mean(reference_labels[nearest] == query_labels))


def _flat(rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(rows.reshape(len(rows), -1), dtype=np.float32)
