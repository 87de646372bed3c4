"""Traces of requests, by OpenTelemetry.  They cost more than the work: none unless asked for.

Where they go, and which share of them, is said by OpenTelemetry's own variables (OTEL_*).
"""

from importlib.util import find_spec
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import telemetry
from serving.security import Redaction
from serving.settings import VARIABLES, BadSetting, Exporter, Settings
from serving.telemetry import Trace

_EXPORTER = "opentelemetry.exporter.otlp.proto.http"
_PACKAGE = "opentelemetry-exporter-otlp-proto-http"
_WHOLE: Final = "biject.scope"  # the scope that the app gets
_HEADERS: Final = (b"traceparent", b"tracestate")


def check(exporter: Exporter | None) -> None:
    """Raises BadSetting if traces are wanted, and what sends them off is not installed."""
    if exporter is None:
        return
    try:
        found = find_spec(_EXPORTER)
    except ModuleNotFoundError:  # not even its parents
        found = None
    if found is None:
        raise BadSetting(
            f"{VARIABLES['tracing']}={exporter} needs {_PACKAGE}: in the clone, "
            "pip install --constraint constraints.txt '.[tracing]'"
        )


def traced(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The app, with a span for each request that is sent off."""
    if settings.tracing is None:
        return app
    from opentelemetry import trace as otel
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.metrics import NoOpMeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": "biject"})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))

    redacted = Redaction(settings)

    async def described(scope: Scope, receive: Receive, send: Send) -> None:
        span = otel.get_current_span()

        async def told(message: Message) -> None:
            request = telemetry.at_hand()
            if message["type"] == "http.response.start" and request is not None:
                span.set_attributes(_facts(request))
                if request.verb:
                    span.update_name(f"{request.verb} {request.model}")
            await send(message)  # the last of them ends the span

        await app(scope[_WHOLE], receive, told)

    inner: ASGIApp = OpenTelemetryMiddleware(
        described,
        tracer_provider=provider,
        meter_provider=NoOpMeterProvider(),
        exclude_spans=["send", "receive"],
    )

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await inner({**_shown(scope, redacted), _WHOLE: scope}, receive, send)
            return
        await app(scope, receive, send)
        if scope["type"] == "lifespan":  # over: what was not sent off yet would be lost
            provider.shutdown()

    return outer


def _shown(scope: Scope, redacted: Redaction) -> Scope:
    """What a span may tell of a request: its query and most headers may hold a key."""
    headers = [(name, value) for name, value in scope["headers"] if name in _HEADERS]
    shown = {**scope, "raw_path": b"", "query_string": b"", "headers": headers}
    shown["path"] = redacted(scope["path"])
    if scope["client"]:  # as a proxy says, and anybody may claim to be one
        shown["client"] = (redacted(scope["client"][0]), scope["client"][1])
    return shown


def _facts(request: Trace) -> dict[str, str | float]:
    facts: dict[str, str | float] = {"biject.request_id": request.request_id}
    if request.verb:
        facts |= {
            "biject.model": request.model,
            "biject.verb": request.verb,
            "biject.queue_ms": request.queue_ms,
            "biject.compute_ms": request.compute_ms,
        }
    if request.caller is not None:
        facts["biject.key"] = request.caller.name
    return facts
