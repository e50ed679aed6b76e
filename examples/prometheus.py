"""The demo with `GET /metrics` for Prometheus: `gunicorn -c gunicorn.conf.py examples.prometheus:app`

    pip install '.[gunicorn,otel]' opentelemetry-exporter-prometheus

The page counts the streams of one worker. With several workers, let each worker export by OTLP instead. The page shows
which models are used and how much, so make it reachable only inside your network.
"""

from __future__ import annotations

from flask import Flask
from flask import Response
from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client import generate_latest

import wsgi


def create_app() -> Flask:
    metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()]))
    app = wsgi.create_app()

    @app.get("/metrics")
    def scrape() -> Response:
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)

    return app


app = create_app()
