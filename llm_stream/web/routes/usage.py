"""The usage page, and its data as JSON and CSV. They cover the whole ledger, not just this `LLMStream`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from flask import Response
from flask import request
from flask import url_for

from ...errors import InvalidField
from ...errors import NoLedger
from ...reports import filters as usage_filters
from ...reports.filters import Dimension
from ...reports.filters import FilterError
from ...reports.filters import Filters
from ...server import gevent
from ...usage.record import storable
from ...usage.record import utc_now
from .. import response
from ..service import Service

if TYPE_CHECKING:
    from ...ledger.ledger import Ledger

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
LOCAL_PATH = re.compile(r"/(?!/)[!-\[\]-~]*")
"""Rejects `//elsewhere.example`, and characters that browsers read as a slash or drop: `\\`, tabs and line ends."""

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def add_to(llm: Service) -> None:

    @llm.get("/usage")
    def usage_page() -> Response:
        scope = llm.usage_scope()
        ledger, filters, by = _read_query(llm, scope, "model")
        from ...reports import page

        links = {name: url_for(f".usage_{name}") for name in ("page", "csv", "json")}
        links |= {file: url_for(".static", filename=f"usage.{file}") for file in ("css", "js")}
        html = page.rendered(
            ledger, filters, by, links, is_for_all=scope is None, back=_local_path(request.args.get("back"))
        )
        return Response(html, headers=HEADERS)

    @llm.get("/usage.json")
    def usage_json() -> Response:
        ledger, filters, by = _read_query(llm, llm.usage_scope(), "day")
        from ...reports.report import as_plain
        from ...reports.report import report

        answer = response.json_response(gevent.off_loop(as_plain, report(ledger, filters, by), by))
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer

    @llm.get("/usage.csv")
    def usage_csv() -> Response:
        scope = llm.usage_scope()
        ledger, filters, _ = _read_query(llm, scope, "day")
        from ...reports.export import csv_of

        lines: Iterator[bytes] = csv_of(ledger, filters, is_for_all=scope is None)
        answer = Response(lines, mimetype="text/csv", headers={"Cache-Control": "no-store"})
        answer.headers["X-Content-Type-Options"] = "nosniff"
        name = f"usage-{filters.since}-{filters.until}.csv"
        answer.headers.set("Content-Disposition", "attachment", filename=name)
        return answer


def _local_path(back: str | None) -> str | None:
    """The path, if a link to it stays on this site."""
    return back if back and LOCAL_PATH.fullmatch(back) else None


def _read_query(llm: Service, scope: str | None, default: Dimension) -> tuple[Ledger, Filters, Dimension]:
    """The ledger, filters and grouping. `scope` overrides the owner in the query. Raises `NoLedger`, `InvalidField`."""
    ledger = llm.state.ledger
    if ledger is None:
        raise NoLedger()
    try:
        filters = Filters.read(request.args.getlist, utc_now().date())
        by = usage_filters.dimension(request.args.get("by"), default)
    except FilterError as error:
        raise InvalidField(str(error)) from error
    return ledger, filters if scope is None else replace(filters, owners=(storable(scope),)), by
