"""What /openapi.json says of the Open Inference Protocol."""

from typing import Annotated, Any, Final, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from serving.routes.openapi import DEADLINE, JSON, PIXEL, About, Json, Media, Operation
from serving.settings import Settings

LENGTH: Final = "Inference-Header-Content-Length"  # header: of the JSON before binary tensors
STARTS: Final = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
_BINARY: Final = "application/octet-stream"
_LENGTH_OF: Final[Json] = {
    "description": "Bytes of JSON at the start of the body, where bytes of tensors follow.",
    "schema": {"type": "integer", "minimum": 0},
}
_CODINGS: Final = ("gzip", "deflate", "identity")


# To a bundle's encode.
_EXAMPLE: Final[Json] = {
    "inputs": [{"name": "images", "datatype": "BYTES", "shape": [1], "data": [PIXEL]}]
}


class OIPError(TypedDict):
    """An error, in one sentence."""

    error: str


class ServerMetadata(TypedDict):
    """Who answers, and what beside the protocol it knows."""

    name: str
    version: str
    extensions: list[str]


class Live(TypedDict):
    """It is."""

    live: bool


class Ready(Live):
    """It is."""

    ready: bool


class ModelReady(TypedDict):
    """It is."""

    name: str
    ready: bool


class TensorMetadata(TypedDict):
    """An input or output; -1 stands for the batch axis."""

    name: str
    datatype: Literal["UINT8", "FP32", "INT64"]
    shape: list[int]


class ModelMetadata(TypedDict):
    """A graph of a bundle."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class TensorParameters(TypedDict, total=False):
    """How a tensor travels."""

    binary_data_size: Annotated[int, About("bytes of it behind the JSON, instead of `data`")]


class InputParameters(TypedDict, total=False):
    """How an input travels."""

    binary_data_size: Annotated[int | None, About("bytes of it behind the JSON, instead of `data`")]
    shared_memory_region: Annotated[Any, About("refused: there is none here")]


class OutputParameters(TypedDict, total=False):
    """How an output is to travel."""

    binary_data: Annotated[bool, About("whether it is to come behind the JSON")]
    shared_memory_region: Annotated[Any, About("refused: there is none here")]
    classification: Annotated[Any, About("refused: there is none here")]


class RequestTensor(TypedDict):
    """An input; images may also be BYTES: one file, data URI or base64 per element."""

    name: str
    shape: list[int]
    datatype: Annotated[str, About("UINT8, FP32 or INT64, as the graph has it; or BYTES")]
    data: NotRequired[Annotated[list[Any], About("row-major, nested as the shape says, or flat")]]
    parameters: NotRequired[InputParameters]


class RequestedOutput(TypedDict):
    """An output that is to be in the answer."""

    name: str
    parameters: NotRequired[OutputParameters]


class RequestParameters(TypedDict, total=False):
    """Of the whole request."""

    binary_data_output: Annotated[bool, About("whether outputs come as bytes, unless told alone")]
    timeout: Annotated[int | None, About("microseconds; 0: as long as the server allows")]
    sequence_id: Annotated[Any, About("refused: requests know nothing of each other")]


class InferenceRequest(TypedDict):
    """Rows for a graph."""

    inputs: list[RequestTensor]
    id: NotRequired[str | None]
    outputs: NotRequired[Annotated[list[RequestedOutput] | None, About("all, unless told")]]
    parameters: NotRequired[RequestParameters]


class IndexRequest(TypedDict, total=False):
    """Which models are to be listed."""

    ready: Annotated[bool, About("only those that answer")]


class ResponseTensor(TypedDict):
    """An output."""

    name: str
    datatype: Literal["UINT8", "FP32", "INT64"]
    shape: list[int]
    data: NotRequired[list[float]]
    parameters: NotRequired[TensorParameters]


class InferenceResponse(TypedDict):
    """What the graph gave."""

    model_name: str
    model_version: str
    id: NotRequired[str]
    outputs: list[ResponseTensor]


class IndexEntry(TypedDict):
    """One name of one version."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class Statistics(TypedDict):
    """Counts and nanoseconds of this process, as Triton has them."""

    model_stats: list[dict[str, Any]]


def of(settings: Settings) -> list[Operation]:
    """The operations of this dialect."""
    config = {"type": "object", "description": "As Triton's model_config.proto has it."}
    models = [
        operation
        for i, start in enumerate(STARTS)
        for operation in (
            _infer(start, i),
            _get(start, "A graph's inputs and outputs.", ModelMetadata, 404),
            _get(start + "/ready", "Whether it computes.", ModelReady, 404),
            _get(start + "/config", "Its configuration in Triton's words.", config, 404),
            _get(start + "/stats", "What it has done in this process.", Statistics, 404),
        )
    ]
    return [
        _get("/v2", "Who answers.", ServerMetadata),
        _get("/v2/health/live", "Whether the process answers.", Live, access="open"),
        _get("/v2/health/ready", "Whether all that can be served is warm.", Ready, access="open"),
        _get("/v2/models/stats", "What all graphs have done in this process.", Statistics),
        _get("/v2/repository/index", "All names, versions and states.", list[IndexEntry]),
        Operation(
            method="post",
            path="/v2/repository/index",
            tag="OIP",
            summary="All names, versions and states.",
            body={JSON: Media(IndexRequest)},
            body_required=False,
            answer={JSON: Media(list[IndexEntry])},
            problems=(408,),
            problem={JSON: Media(OIPError)},
        ),
        *models,
    ]


def _get(
    path: str, summary: str, answer: Any, *problems: int, access: Literal["open", "key"] = "key"
) -> Operation:
    return Operation(
        method="get",
        path=path,
        tag="OIP",
        summary=summary,
        answer={JSON: Media(answer)},
        problems=problems,
        problem={JSON: Media(OIPError)},
        access=access,
    )


def _infer(start: str, number: int) -> Operation:
    binary = {"type": "string", "format": "binary"}
    return Operation(
        method="post",
        path=start + "/infer",
        tag="OIP",
        summary="Run a graph: `NAME` is a bundle's encode, `NAME.GRAPH` any graph.",
        description="Tensors travel in the JSON, or as bytes behind it; bodies may be gzip or "
        "deflate both ways.",
        parameters=[
            DEADLINE,
            {"name": LENGTH, "in": "header", **_LENGTH_OF},
            {"name": "Content-Encoding", "in": "header", "schema": {"enum": list(_CODINGS)}},
            {"name": "Accept-Encoding", "in": "header", "schema": {"type": "string"}},
        ],
        body={JSON: Media(InferenceRequest, _EXAMPLE), _BINARY: Media(binary)},
        answer={JSON: Media(InferenceResponse), _BINARY: Media(binary)},
        answer_headers={LENGTH: _LENGTH_OF},
        problems=(404, 408, 415, 422, 429, 504),
        problem={JSON: Media(OIPError)},
        name=("infer", "infer_version")[number],
    )
