"""The demo: one page, one blueprint. `gunicorn -c gunicorn.conf.py wsgi:app`"""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from flask import Flask
from flask import Response
from flask import render_template
from flask import request
from flask import url_for
from openai import OpenAI
from werkzeug.middleware.proxy_fix import ProxyFix

from llm_stream import LLMStream
from llm_stream.testing import Upstream

CONTENT_SECURITY_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",  # pictures in questions and answers
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "dompurify",
}
PAGE_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in CONTENT_SECURITY_POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # no-referrer would strip the origin of the beacon that stops a stream
    "X-DNS-Prefetch-Control": "off",  # no DNS lookups for links in an answer before they are clicked
    "Cross-Origin-Opener-Policy": "same-origin",
}

PROXY_HEADERS = {"forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"}


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    app = Flask(__name__)
    if proxies := int(os.environ.get("PROXIES", "0")):  # the number of our own proxies that add to X-Forwarded-For
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies)  # type: ignore[method-assign]
    app.config.from_prefixed_env("FLASK")
    app.config.from_mapping(config or {})
    if "LLM_STREAM_PUBLIC" not in os.environ:
        app.config.setdefault("LLM_STREAM_PUBLIC", True)  # the default bind address is loopback
    if "LLM_STREAM_MODEL" not in os.environ:
        app.config.setdefault("LLM_STREAM_MODEL", default_model())
    if "LLM_STREAM_LEDGER_URL" not in os.environ:
        app.config.setdefault("LLM_STREAM_LEDGER_URL", ledger_url(Path(app.instance_path)))

    llm = LLMStream("llm", __name__, client=make_client)

    @llm.authorize_usage
    def is_at_this_machine() -> bool:
        """The demo has no login: only direct local requests may see the usage, not those through a proxy."""
        is_local = ip_address(request.remote_addr or "0.0.0.0").is_loopback
        return is_local and not PROXY_HEADERS & {name.lower() for name, _ in request.headers}

    if not has_model():
        add_tools(llm)
    app.register_blueprint(llm, url_prefix="/llm")

    def has_usage() -> bool:
        return llm.state.ledger is not None and is_at_this_machine()

    @app.get("/")
    def page() -> Response:
        state = llm.state
        html = render_template(
            "chat.html",
            has_model=has_model(),
            model=state.model,
            models=list(dict.fromkeys((state.model, *state.settings.models))),
            most_bytes=state.settings.max_request_bytes,
            usage_url=url_for("llm.usage_page", back=url_for("page")) if has_usage() else None,
        )
        return Response(html, headers=PAGE_HEADERS)

    @app.get("/chat")
    def chat() -> Response:
        return llm.respond(prompt=request.args.get("prompt", ""), format="text")

    return app


def add_tools(llm: LLMStream) -> None:
    """Adds the tools that the scripted model calls if the question names them."""

    @llm.tool
    def weather(city: str) -> dict[str, Any]:
        """The weather of a city, which is always the same in this demo."""
        return {"city": city, "sky": "clear", "celsius": 21}

    @llm.tool(needs_approval=True)
    def delete_note(note: int) -> str:
        """Delete a note. There are none in this demo, so nothing is deleted."""
        return f"Note {note} would be gone now."


def default_model() -> str:
    """OpenAI uses the bare model name; gateways prefix the vendor."""
    at_openai = "OPENAI_API_KEY" in os.environ and not os.environ.get("OPENAI_BASE_URL")
    return "gpt-4o-mini" if at_openai else "openai/gpt-4o-mini"


def ledger_url(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'usage.db'}"


def has_model() -> bool:
    return bool(os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))


def make_client() -> OpenAI:
    """The API client. Without a key or a base URL, it calls a scripted server in this process."""
    if has_model():
        return OpenAI(api_key=os.environ.get("OPENAI_API_KEY") or "none")  # local servers need no key
    upstream = Upstream()
    upstream.start()
    return OpenAI(base_url=upstream.base_url, api_key="none")


app = create_app()
