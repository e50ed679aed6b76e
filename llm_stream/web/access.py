"""Access control: cross-site checks, CORS headers, and the owner of a request."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from urllib.parse import urlsplit
from uuid import UUID

from flask import Request
from flask import Response
from flask import abort
from werkzeug.datastructures import HeaderSet
from werkzeug.http import parse_list_header
from werkzeug.wrappers import Response as BaseResponse

from ..errors import CrossSite
from ..errors import Prefetch
from ..errors import RequestError
from ..errors import SeveralProcesses
from ..errors import Unauthorized
from ..errors import UsageClosed
from ..server.connection import connection_of
from ..settings import Settings

logger = logging.getLogger("llm_stream")

SEVERAL_PROCESSES = (
    "The server has several processes, but each keeps its streams in its own memory (LLM_STREAM_LOG_URL is memory://),"
    " so a client that reconnects may not find its stream. Share the streams (LLM_STREAM_LOG_URL=redis://…), or serve"
    " the app with one worker (WEB_CONCURRENCY=1, or gunicorn --workers 1)."
)

ONE_AT_A_TIME = (
    "This server answers one request at a time: while it writes an answer, it accepts no other request, not even Stop."
    " Serve the app with gevent (gunicorn --worker-class gevent), or with one thread for each answer at a time"
    " (gunicorn --worker-class gthread --threads 100)."
)

Authorize = Callable[[], object]

EXPOSED = (
    "Location", "Retry-After", "x-request-id", "x-should-retry",
    "x-llm-stream-id", "x-llm-stream-url", "x-llm-stream-left-out",
    "ETag", "Stream-Next-Offset", "Stream-Up-To-Date", "Stream-Closed", "Stream-Cursor",
)  # fmt: skip
"""Response headers that cross-origin pages may read. Without `x-should-retry`, clients pay for useless retries."""


def check_site(request: Request, settings: Settings) -> None:
    """Refuse requests that another site's page sends with its visitor's cookies. Raises `CrossSite`.

    Browsers send `Sec-Fetch-Site`, except old browsers and over plain http. Without it, compare `Origin`, or else
    `Referer` (the GET of an image has no `Origin`). Other clients send none of these headers and are allowed.
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
        origin = request.headers.get("Origin", request.headers.get("Referer"))
        allowed = origin is None or _host_of(origin) == request.host
    if not allowed:
        raise CrossSite()


def check_processes(request: Request, settings: Settings) -> None:
    """Refuse to start a stream that other processes could not find. Raises `SeveralProcesses`.

    `wsgi.multiprocess` is true if the server has several processes:
    https://peps.python.org/pep-3333/#environ-variables
    With our hooks gunicorn does not start such a server: see `worker.post_worker_init()`.
    """
    if has_strangers(request, settings):
        logger.error(SEVERAL_PROCESSES)
        raise SeveralProcesses()


def has_strangers(request: Request, settings: Settings) -> bool:
    """Whether the server has other processes that do not share their streams with this process."""
    return bool(request.environ.get("wsgi.multiprocess")) and not settings.is_shared


def warn_if_one_at_a_time(request: Request) -> None:
    """Log one warning per process if the server has a single thread. Ignores test clients, which have no socket.

    With our hooks gunicorn does not start such a server: see `worker.post_worker_init()`.
    """
    if not request.environ.get("wsgi.multithread") and connection_of(request.environ) is not None:
        _warn_of_one_at_a_time()


@cache
def _warn_of_one_at_a_time() -> None:
    logger.warning(ONE_AT_A_TIME)


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return None


def is_allowed_origin(request: Request, settings: Settings) -> bool:
    return request.headers.get("Origin") in settings.origins


def is_browser(request: Request) -> bool:
    """Browsers send `Origin` with every POST. `Sec-Fetch-Mode` proves nothing: Node's fetch sends it too."""
    return "Origin" in request.headers or "Sec-Fetch-Site" in request.headers


def allow_origin(request: Request, response: Response, settings: Settings) -> None:
    """Let pages of `LLM_STREAM_ORIGINS` read the response. Replaces CORS headers that the app has set.

    https://fetch.spec.whatwg.org/#http-cors-protocol
    """
    if not settings.origins:
        return
    _extend_header(response, "Vary", "Origin")
    if not is_allowed_origin(request, settings):
        return
    response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
    response.headers["Access-Control-Allow-Credentials"] = "true"
    _extend_header(response, "Access-Control-Expose-Headers", *EXPOSED)
    if request.method == "OPTIONS":
        requested = request.headers.get
        methods = requested("Access-Control-Request-Method", "GET, POST, DELETE")
        response.headers["Access-Control-Allow-Methods"] = methods
        names = requested("Access-Control-Request-Headers", "Content-Type, Last-Event-ID")
        response.headers["Access-Control-Allow-Headers"] = names
        response.headers["Access-Control-Max-Age"] = "600"


def _extend_header(response: Response, name: str, *values: str) -> None:
    """Add values to a list header: one line, no duplicates."""
    listed = HeaderSet()
    listed.update(parse_list_header(", ".join(response.headers.getlist(name))))
    listed.update(values)
    response.headers[name] = listed.to_header()


def owner_of(request: Request, authorize: Authorize | None) -> str:
    """The owner from `authorize`, or the client's address in a public app. May abort, or raise `Unauthorized`."""
    owner = authorize() if authorize else request.remote_addr or "unknown"
    return _checked_owner(owner, Unauthorized, "authorize must return the owner as a string, an int or a UUID")


def scope_of(authorize_usage: Authorize | None, name: str) -> str | None:
    """The owner whose usage may be shown; None for all owners. May abort, or raise `UsageClosed`."""
    if authorize_usage is None:
        raise UsageClosed(
            f"The usage page is closed. To open it, decorate a function with @{name}.authorize_usage that returns True"
            " for all owners, or one owner."
        )
    scope = authorize_usage()
    return (
        None
        if scope is True
        else _checked_owner(
            scope, UsageClosed, "authorize_usage must return True, or an owner as a string, an int or a UUID"
        )
    )


def _checked_owner(returned: object, denied: type[RequestError], expected: str) -> str:
    """The owner that the app's function returned. Raises `denied` for an empty value, `TypeError` for a wrong type."""
    if isinstance(returned, BaseResponse):
        abort(returned)
    if returned is None or returned == "" or returned is False:
        raise denied()
    if returned is True or not isinstance(returned, (str, int, UUID)):
        raise TypeError(f"{expected}; it returned {type(returned).__name__}")
    return str(returned)
