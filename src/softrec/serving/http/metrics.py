"""Numbers for Prometheus, in a registry of their own, so that two applications do not share any."""

from __future__ import annotations

from collections.abc import Callable

import prometheus_client as prometheus

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """Requests, their seconds, errors by type, reloads, and what is served."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        self.requests = prometheus.Counter(
            "softrec_requests",
            "Requests by path and status.",
            ["path", "status"],
            registry=self.registry,
        )
        self.seconds = prometheus.Histogram(
            "softrec_request_seconds", "Seconds from a request to its reply.", ["path"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.errors = prometheus.Counter(
            "softrec_errors",
            "Refused requests by the type of the error.",
            ["type"],
            registry=self.registry,
        )
        self.lists = prometheus.Counter(
            "softrec_lists", "Lists of items recommended.", registry=self.registry
        )
        self.reloads = prometheus.Counter(
            "softrec_reloads",
            "New runs loaded, and new runs that could not be.",
            ["result"],
            registry=self.registry,
        )
        self.model = prometheus.Gauge(
            "softrec_model",
            "1 for what is served now.",
            ["model", "kind", "version"],
            registry=self.registry,
        )
        self.held = prometheus.Gauge(
            "softrec_requests_held", "Requests that are worked on or wait.", registry=self.registry
        )
        self.sockets = prometheus.Counter(
            "softrec_sockets_refused",
            "Sockets closed because too many were open.",
            registry=self.registry,
        )

    def count_held(self, held: Callable[[], int]) -> None:
        """Read the number of requests that are worked on whenever it is asked for."""
        self.held.set_function(held)

    def serve(self, model: str, kind: str, version: str) -> None:
        """Note what is served from now on."""
        self.model.clear()
        self.model.labels(model, kind, version).set(1)

    def text(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        return prometheus.generate_latest(self.registry)

    @property
    def media_type(self) -> str:
        """Return the media type of the text."""
        return prometheus.CONTENT_TYPE_LATEST
