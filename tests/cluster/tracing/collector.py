"""An OpenTelemetry collector on a real socket: takes OTLP over HTTP and keeps the spans."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """spans: as received. services: their resource's service.name. `answers`: HTTP status of each request.

    `silent`: takes requests and says nothing until it is closed.
    """

    def __init__(self, answers: int = 200, *, silent: bool = False) -> None:
        self._speaks = threading.Event()
        if not silent:
            self._speaks.set()
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self.requests = 0
        self._lock = threading.Lock()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector._speaks.wait()
                if self.path == "/v1/traces":
                    collector._take(ExportTraceServiceRequest.FromString(body), answers)
                self.send_response(answers if self.path == "/v1/traces" else 404)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Not on the test's output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _take(self, request: Any, answers: int) -> None:
        with self._lock:
            self.requests += 1
            if answers != 200:
                return
            for resource in request.resource_spans:
                self.services |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
                for scope in resource.scope_spans:
                    self.spans.extend(scope.spans)

    def close(self) -> None:
        self._speaks.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def attributes(span: Any) -> dict[str, Any]:
    """A span's attributes by name, without their prefix."""
    found = {}
    for attribute in span.attributes:
        kind = attribute.value.WhichOneof("value")
        found[attribute.key.removeprefix("mattemill.")] = getattr(attribute.value, kind)
    return found
