"""OpenTelemetry: a span a request, sent by OTLP over HTTP where an endpoint is configured. Nothing of it is imported otherwise.

Names are those of the semantic conventions for HTTP (1.23 and later); a traceparent that came with the request is the parent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

PATH = "/v1/traces"
SEND_S = 5.0


class Telemetry:
    """The spans of one process. They are sent by a thread of their own, in batches; an endpoint that is away costs nothing but them."""

    def __init__(self, endpoint: str, *, service: str, version: str, instance: str) -> None:
        """`endpoint` is the collector's, such as http://127.0.0.1:4318; "/v1/traces" is added where it is missing."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        address = endpoint.rstrip("/")
        if not address.endswith(PATH):
            address += PATH
        told = {"service.name": service, "service.version": version, "service.instance.id": instance}
        self._provider = TracerProvider(resource=Resource.create(told), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=address, timeout=SEND_S)))
        self._tracer = self._provider.get_tracer("trunkline", version)
        self._parents = TraceContextTextMapPropagator()
        self._server_kind = SpanKind.SERVER
        self._failed = StatusCode.ERROR

    def begin(self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]], request_id: str) -> Any:
        """The span of a request that has just come."""
        carrier = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in headers if name in (b"traceparent", b"tracestate")
        }
        return self._tracer.start_span(
            method, context=self._parents.extract(carrier) if carrier else None, kind=self._server_kind,
            attributes={"http.request.method": method, "url.path": path[:1024], "trunkline.request_id": request_id},
        )  # fmt: skip

    def end(self, span: Any, method: str, route: str, status: int) -> None:
        """Ends it with what came of it. `route` is the template, "" where none took the request."""
        if route:
            span.update_name(f"{method} {route}")
            span.set_attribute("http.route", route)
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(self._failed)
        span.end()

    def close(self) -> None:
        """Sends what is left, for at most a few seconds. Blocks."""
        self._provider.shutdown()


__all__ = ["Telemetry"]
