"""What all dialects run graphs with: a model's batcher, on behalf of one request."""

import time

from serving import labels, verbs
from serving.errors import ServingError
from serving.model import Model
from serving.queueing import Answer, Array
from serving.telemetry import Trace


class BatchRunner:
    """Runs a model's graphs for one request through the model's batcher."""

    def __init__(self, model: Model, trace: Trace) -> None:
        self._manifest = model.manifest
        self._loaded = model.ready
        self._trace = trace

    async def run(self, graph: str, *inputs: Array) -> Answer:
        """The graph's outputs, merged with other requests' on the way."""
        verbs.check_graph(self._manifest, graph)
        inputs = labels.completed(self._manifest, graph, inputs)
        rows, caller = len(inputs[0]), self._trace.caller
        if caller is not None:
            caller.pay(rows)
        begin, tally = time.monotonic(), self._loaded.tally
        try:
            answer = await self._loaded.batcher.submit(
                graph,
                inputs,
                self._trace.deadline,
                on_abandoned=None if caller is None else caller.give_back,
            )
        except ServingError:
            tally.failed(graph, time.monotonic() - begin)
            if caller is not None:
                caller.give_back(rows)
            raise
        tally.answered(graph, answer)
        self._trace.queue_ms += answer.queue_ms
        self._trace.compute_ms += answer.compute_ms
        return answer
