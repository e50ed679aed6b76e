"""Who may call: the page's site, and the owner who pays."""

from __future__ import annotations

import logging
from collections.abc import Callable
from urllib.parse import urlsplit
from uuid import UUID

from flask import Request
from flask import Response
from flask import abort
from werkzeug.datastructures import HeaderSet
from werkzeug.http import parse_list_header
from werkzeug.wrappers import Response as BaseResponse

from ..core.streams import SEVERAL_PROCESSES
from ..errors import CrossSite
from ..errors import Prefetch
from ..errors import RequestError
from ..errors import SeveralProcesses
from ..errors import Unauthorized
from ..errors import UsageClosed
from ..settings import Settings

logger = logging.getLogger("llm_stream")

Authorize = Callable[[], object]

EXPOSED = ("Location", "Retry-After", "x-request-id", "x-should-retry", "x-llm-stream-url", "x-llm-stream-left-out")
"""A page of another site may read these: a client that cannot see `x-should-retry` buys again what has failed."""


def check_site(request: Request, settings: Settings) -> None:
    """Refuse what a page of another site sends along with its visitor's cookies. Raises `CrossSite`.

    `Sec-Fetch-Site` is the browser's own word; where it is missing (old browsers, plain http) `Origin` is compared, and
    `Referer` where that is missing too, as with the GET of an image. Clients that are no browsers send none of them.
    https://www.w3.org/TR/fetch-metadata/
    """
    if is_allowed_origin(request, settings):
        return
    if "prefetch" in request.headers.get("Sec-Purpose", ""):
        raise Prefetch()
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        allowed = site in ("same-origin", "none")
    else:
        claimed = request.headers.get("Origin", request.headers.get("Referer"))
        allowed = claimed is None or _host_of(claimed) == request.host
    if not allowed:
        raise CrossSite()


def check_processes(request: Request) -> None:
    """Refuse to start what another process could not find again. Raises `SeveralProcesses`.

    `wsgi.multiprocess` says whether the server has other processes: https://peps.python.org/pep-3333/#environ-variables
    Under gunicorn with our hooks the server does not even start, see `worker.post_worker_init()`.
    """
    if request.environ.get("wsgi.multiprocess"):
        logger.error(SEVERAL_PROCESSES)
        raise SeveralProcesses()


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return None


def is_allowed_origin(request: Request, settings: Settings) -> bool:
    return request.headers.get("Origin") in settings.origins


def is_browser(request: Request) -> bool:
    """Browsers send `Origin` with every POST, and most say more. (`Sec-Fetch-Mode` comes from Node's fetch as well.)"""
    return "Origin" in request.headers or "Sec-Fetch-Site" in request.headers


def allow_origin(request: Request, response: Response, settings: Settings) -> None:
    """Let the pages of `LLM_STREAM_ORIGINS` read the answer, whatever else in the app has said about it.

    https://fetch.spec.whatwg.org/#http-cors-protocol
    """
    if not settings.origins:
        return
    _add(response, "Vary", "Origin")
    if not is_allowed_origin(request, settings):
        return
    response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
    response.headers["Access-Control-Allow-Credentials"] = "true"
    _add(response, "Access-Control-Expose-Headers", *EXPOSED)
    if request.method == "OPTIONS":
        asked = request.headers.get
        methods = asked("Access-Control-Request-Method", "GET, POST, DELETE")
        response.headers["Access-Control-Allow-Methods"] = methods
        names = asked("Access-Control-Request-Headers", "Content-Type, Last-Event-ID")
        response.headers["Access-Control-Allow-Headers"] = names
        response.headers["Access-Control-Max-Age"] = "600"


def _add(response: Response, name: str, *values: str) -> None:
    """To a header that holds a list, in one line, none of them twice."""
    listed = HeaderSet()
    listed.update(parse_list_header(", ".join(response.headers.getlist(name))))
    listed.update(values)
    response.headers[name] = listed.to_header()


def owner_of(request: Request, authorize: Authorize | None) -> str:
    """The owner; in a public app the client's address. Raises `Unauthorized`, or what `authorize` aborts with."""
    owner = authorize() if authorize else request.remote_addr or "unknown"
    return _name_in(owner, Unauthorized, "authorize must return who pays, as a string")


def scope_of(authorize_usage: Authorize | None, name: str) -> str | None:
    """Whose usage may be seen: an owner's, or with None everybody's. Raises `UsageClosed`, or what it aborts with."""
    if authorize_usage is None:
        raise UsageClosed(
            f"Nobody may see what was spent: decorate a function with @{name}.authorize_usage that returns True,"
            " or an owner to show the usage of."
        )
    scope = authorize_usage()
    return None if scope is True else _name_in(scope, UsageClosed, "authorize_usage must return True or an owner")


def _name_in(returned: object, nobody: type[RequestError], wanted: str) -> str:
    """The owner that a function of the app's has returned. Raises `nobody`, and `TypeError` for a mistake."""
    if isinstance(returned, BaseResponse):
        abort(returned)
    if returned is None or returned == "" or returned is False:
        raise nobody()
    if returned is True or not isinstance(returned, (str, int, UUID)):
        raise TypeError(f"{wanted}; it returned {type(returned).__name__}")
    return str(returned)
