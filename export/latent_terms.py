"""Score terms that need calibration: how far E(x) lies from the codes of normal images.

With c_j the codes of M normal images, none of which gives a calibration score:

    mahalanobis = (z - m)^T S^-1 (z - m) / Z, m and S their mean and covariance, the latter shrunk
                  towards a multiple of the identity (Ledoit and Wolf 2004, doi
                  10.1016/S0047-259X(03)00096-4), so that it can be inverted
    knn         = mean distance to the K nearest of them / sqrt(Z)
                  (Ramaswamy, Rastogi, Shim 2000; the mean as Angiulli, Pizzuti 2002 have it)
    combined    = sum over t of term_t / s_t, s_t the standard deviation of term t over the
                  calibration scores; t is knn and the residual term (l2s, of vectors l2): the one
                  sees what lies far from all that is normal, the other what E leaves out

All three are nodes appended to the bundle's own score graph, so that one call still answers
everything, and no network has to be at hand.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf

from serving import labels
from serving.bundle import Bundle

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

NEIGHBOURS: Final = 5
MOST_CODES: Final = 2_000  # half a megabyte of a bundle at Z = 64
FEWEST_CODES: Final = 50  # fewer say little of where normal codes are
TERMS: Final = ("mahalanobis", "knn")
COMBINED: Final = "combined"
SAME: Final = 1e-4  # how equal two graphs' codes are: the bound of parity
_PREFIX: Final = "codes_"  # of the names of all that is appended
_OF_IMAGES: Final = "_of_images"


@dataclass(frozen=True, kw_only=True, slots=True)
class Codes:
    """Codes of normal images, and what is worked out from them."""

    codes: npt.NDArray[np.float32]  # [M, Z], M >= NEIGHBOURS
    mean: Floats  # [Z]
    whitening: Floats  # [Z, Z]: W with W W^T = S^-1

    def terms(self, latents: Array) -> Floats:
        """mahalanobis and knn of E(x) [N, Z], [N, 2]: what the nodes compute, in numpy."""
        z, size = latents.astype(np.float64), latents.shape[1]
        mahalanobis = np.square((z - self.mean) @ self.whitening).mean(axis=1)
        gaps = np.sort(cdist(z, self.codes.astype(np.float64)), axis=1)
        knn = gaps[:, :NEIGHBOURS].mean(axis=1) / np.sqrt(size)
        return np.stack([mahalanobis, knn], axis=1)


def fit(codes: npt.NDArray[np.float32]) -> Codes | None:
    """What M codes [M, Z] of normal images give; None where all are the same."""
    spread = codes.astype(np.float64)
    if not spread.std(axis=0).max() > 0:
        return None
    found = LedoitWolf().fit(spread)
    values, vectors = np.linalg.eigh(found.covariance_)
    return Codes(codes=codes, mean=found.location_, whitening=vectors / np.sqrt(values))


def find_latents(opened: Bundle, images: Array, codes: Array) -> str | None:
    """The tensor of the score graph that is E(x): the first to equal `codes` [N, Z] of `images`.

    None where the graph computes no such thing.  Asked of the graph itself, so that it does not
    matter who wrote it.
    """
    file = opened.graph_file("score")
    model = onnx.shape_inference.infer_shapes(onnx.load(file, load_external_data=False))
    for value in model.graph.value_info:
        kind = value.type.tensor_type
        sizes = [axis.dim_value for axis in kind.shape.dim]
        if kind.elem_type != TensorProto.FLOAT or len(sizes) != 2 or sizes[1] != codes.shape[1]:
            continue
        found = _inner(file, value, images)
        # A product of weights may be as wide as a code and have any number of rows.
        if found.shape == codes.shape and np.abs(found - codes).max() <= SAME:
            return str(value.name)
    return None


def append(
    opened: Bundle, latents: str, codes: Codes, weights: npt.NDArray[np.float64]
) -> tuple[str, ...]:
    """Rewrite the bundle's score graph with the terms of `codes`; gives all its terms.

    Terms that an earlier call appended give way to these.

    Args:
        latents: The name of E(x) in it.
        weights: [T + 2] of `combined`, over the terms of the images and the two of `codes`.
    """
    file = opened.graph_file("score")
    model = onnx.load(file, load_external_data=False)
    _strip(model)
    after = model.graph.output[0].name
    before = after + _OF_IMAGES
    _rename(model, after, before)
    nodes, constants = _nodes(latents, codes, weights, before=before, after=after)
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in constants.items()
    )
    terms = (*of_images(opened), *TERMS, COMBINED)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(terms)
    file.write_bytes(model.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(file), full_check=True)
    return terms


def of_images(opened: Bundle) -> tuple[str, ...]:
    """The terms of the score graph that need no calibration."""
    terms = opened.manifest.score.terms
    return tuple(term for term in terms if term not in (*TERMS, COMBINED))


def _strip(model: onnx.ModelProto) -> None:
    """Take away what `append` appended, if anything."""
    graph = model.graph
    after = graph.output[0].name
    own = [node for node in graph.node if any(n.startswith(_PREFIX) for n in node.output)]
    if not own:
        return
    own += [node for node in graph.node if after in node.output]
    kept = [node for node in graph.node if node not in own]
    constants = [each for each in graph.initializer if not each.name.startswith(_PREFIX)]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(constants)
    _rename(model, after + _OF_IMAGES, after)


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]


def _nodes(
    latents: str, codes: Codes, weights: npt.NDArray[np.float64], *, before: str, after: str
) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """The nodes from `latents` and the terms `before` to the terms `after`, and their constants.

    Distances come from |z|^2 - 2 z c + |c|^2: one matrix product for all M codes.  In double
    precision, since where many codes are nearly the same float32 leaves nothing of that sum, not
    even which of them are near, and whitening magnifies what rounding left of small directions.
    """
    known = codes.codes.astype(np.float64)
    constants: dict[str, Array] = {
        "codes_mean": codes.mean,
        "codes_whitening": codes.whitening,
        "codes_known": np.ascontiguousarray(codes.codes.T),
        "codes_squared": np.square(known).sum(axis=1),
        "codes_last": np.array([1], np.int64),
        "codes_k": np.array([NEIGHBOURS], np.int64),
        "codes_minus_two": np.array(-2.0),
        "codes_root": np.array(np.sqrt(known.shape[1])),
        "codes_weights": weights[:, None].astype(np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Cast", [latents], ["codes_exact"], to=TensorProto.DOUBLE),
        node("Sub", ["codes_exact", "codes_mean"], ["codes_z"]),
        node("MatMul", ["codes_z", "codes_whitening"], ["codes_white"]),
        node("Mul", ["codes_white", "codes_white"], ["codes_white_2"]),
        node("ReduceMean", ["codes_white_2", "codes_last"], ["codes_deviation"], keepdims=1),
        node("Cast", ["codes_known"], ["codes_exactly_known"], to=TensorProto.DOUBLE),
        node("ReduceSumSquare", ["codes_exact", "codes_last"], ["codes_z_squared"], keepdims=1),
        node("MatMul", ["codes_exact", "codes_exactly_known"], ["codes_product"]),
        node("Mul", ["codes_product", "codes_minus_two"], ["codes_crossed"]),
        node("Add", ["codes_crossed", "codes_squared"], ["codes_partly"]),
        node("Add", ["codes_partly", "codes_z_squared"], ["codes_gaps"]),
        node("TopK", ["codes_gaps", "codes_k"], ["codes_near", "codes_which"], largest=0),
        node("Relu", ["codes_near"], ["codes_near_squared"]),  # rounding may leave -1e-16
        node("Sqrt", ["codes_near_squared"], ["codes_distances"]),
        node("ReduceMean", ["codes_distances", "codes_last"], ["codes_distance"], keepdims=1),
        node("Div", ["codes_distance", "codes_root"], ["codes_knn"]),
        node("Concat", ["codes_deviation", "codes_knn"], ["codes_both"], axis=1),
        node("Cast", ["codes_both"], ["codes_own"], to=TensorProto.FLOAT),
    ]
    return [
        *nodes,
        node("Concat", [before, "codes_own"], ["codes_terms"], axis=1),
        node("MatMul", ["codes_terms", "codes_weights"], ["codes_combined"]),
        node("Concat", ["codes_terms", "codes_combined"], [after], axis=1),
    ], constants


def _inner(file: Path, tensor: onnx.ValueInfoProto, images: Array) -> Array:
    """What a graph computes on the way to its answers."""
    model = onnx.load(file)
    del model.graph.output[:]
    model.graph.output.append(tensor)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # that nodes behind the tensor are not needed is known
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_inputs()]
    given = (images, labels.unknown(len(images)))  # labels, where the graph wants them
    found: Array = session.run(None, dict(zip(names, given, strict=False)))[0]
    return found
