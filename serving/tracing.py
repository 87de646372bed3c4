"""Traces of requests, by OpenTelemetry.  They cost more than the work: none unless asked for.

Where they go, and which share of them, is said by OpenTelemetry's own variables (OTEL_*).
"""

from importlib.util import find_spec
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.settings import VARIABLES, BadSetting, Exporter, Settings

_EXPORTER = "opentelemetry.exporter.otlp.proto.http"
_PACKAGE = "opentelemetry-exporter-otlp-proto-http"


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
            f"{VARIABLES['tracing']}={exporter} needs {_PACKAGE}: pip install 'biject[tracing]'"
        )


def for_bentoml(exporter: Exporter | None) -> dict[str, Any]:
    """BentoML's settings.  Its middleware is always there, but leaves early where told to."""
    if exporter is None:
        return {"excluded_urls": ".*"}
    return {"exporter_type": exporter, "sample_rate": 1.0, exporter: {"protocol": "http"}}


def traced(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The app, with a span for each request that is sent off."""
    if settings.tracing is None:
        return app
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": "biject"})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    inner: ASGIApp = OpenTelemetryMiddleware(app, tracer_provider=provider)

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        await inner(scope, receive, send)
        if scope["type"] == "lifespan":  # over: what was not sent off yet would be lost
            provider.shutdown()

    return outer
