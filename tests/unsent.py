"""A host app whose hooks and middleware treat a stream's response in the ways that real ones do."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from flask import Response
from flask import request
from flask import send_file

from llm_stream import LLMStream

from .served import app

llm: LLMStream = app.blueprints["llm"]  # type: ignore[assignment]


class OwnResponse(Response):
    default_mimetype = "text/plain"


if os.environ.get("OWN_RESPONSE_CLASS"):
    app.response_class = OwnResponse


@app.get("/view")
def view() -> Response:
    return llm.respond(prompt=request.args["prompt"])


@app.get("/view-that-fails")
def view_that_fails() -> Response:
    llm.respond(prompt="hi")
    raise RuntimeError("after the stream was started")


@app.get("/view-that-forgets")
def view_that_forgets() -> str:
    llm.respond(prompt="hi")
    return "something else"


@app.after_request
def treat(response: Response) -> Response:
    treatment = request.args.get("treat", "")
    if treatment == "get_data":
        response.headers["X-Length"] = str(len(response.get_data()))
    elif treatment == "etag":
        response.add_etag()
        response.make_conditional(request)
    elif treatment == "replace":
        return Response("another")
    elif treatment == "replace_by_file":
        return send_file(__file__)
    elif treatment == "replace_body":
        response.set_data("another")
    elif treatment == "raise":
        raise RuntimeError("a hook is broken")
    elif treatment.isdigit():
        response.status_code = int(treatment)
    return response


def middleware(inner: Any) -> Any:
    def between(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = inner(environ, start_response)
        if "treat=close_early" in environ["QUERY_STRING"]:
            body.close()
            return [b""]
        if "treat=drop" in environ["QUERY_STRING"]:
            kept.append(body)  # it is not even freed
            return [b""]
        return body  # type: ignore[no-any-return]

    return between


kept: list[Any] = []
app.wsgi_app = middleware(app.wsgi_app)  # type: ignore[method-assign]
