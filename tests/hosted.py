"""A host with the extensions that a Flask app usually has, each doing what it is for.

What Sentry and OpenTelemetry are told is a line of JSON each in the files `SENTRY` and `SPANS`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import sentry_sdk
from flask import Flask
from flask import Response
from flask import abort
from flask import jsonify
from flask import request
from flask_babel import Babel
from flask_babel import format_decimal
from flask_compress import Compress
from flask_cors import CORS
from flask_limiter import Limiter
from flask_login import LoginManager
from flask_login import UserMixin
from flask_login import current_user
from flask_login import login_user
from flask_sqlalchemy import SQLAlchemy
from flask_talisman import Talisman
from openai import OpenAI
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column

from llm_stream import LLMStream
from llm_stream import UsageRecord
from llm_stream.core import streams

BANNED = "banned"
"""May ask for nothing."""


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class User(UserMixin, db.Model):  # type: ignore[name-defined, misc]
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]


class Charge(db.Model):  # type: ignore[name-defined, misc]
    stream: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]


class ToFile(Transport):
    def capture_envelope(self, envelope: Envelope) -> None:
        if event := envelope.get_event():
            write("SENTRY", json.dumps(event, default=str))


def write(file: str, line: str) -> None:
    with open(os.environ[file], "a") as lines:
        lines.write(f"{line}\n")


def trace_to_file() -> None:
    def in_a_line(span: ReadableSpan) -> str:
        return f"{span.to_json(indent=None)}\n"

    spans = open(os.environ["SPANS"], "a")  # noqa: SIM115 - for as long as the worker lives
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=spans, formatter=in_a_line)))
    trace.set_tracer_provider(provider)


def language() -> str | None:
    return request.accept_languages.best_match(["en", "de"])


def limit_of_user() -> str:
    return "0/hour" if current_user.get_id() == BANNED else "10000/hour"


def make_app() -> Flask:
    sentry_sdk.init(dsn="https://key@sentry.invalid/1", transport=ToFile, send_default_pii=True)
    trace_to_file()
    app = Flask("hosted")
    app.config.update(
        SECRET_KEY="secret",
        SQLALCHEMY_DATABASE_URI=os.environ["DATABASE"],
        LLM_STREAM_MODEL="scripted",
        LLM_STREAM_ORIGINS=["https://friend.example"],
        RATELIMIT_HEADERS_ENABLED=True,
    )
    FlaskInstrumentor().instrument_app(app)  # type: ignore[no-untyped-call]
    db.init_app(app)
    CORS(app, supports_credentials=True)
    Compress(app)
    Babel(app, locale_selector=language)
    Talisman(app, force_https=False, session_cookie_secure=False)
    llm = make_llm()
    sign_in_by_cookie(app)
    limiter = Limiter(lambda: current_user.get_id() or "nobody", app=app, storage_uri="memory://")
    limiter.limit(limit_of_user)(llm)
    app.register_blueprint(llm, url_prefix="/llm")
    add_views(app, llm, limiter)
    with app.app_context():
        db.create_all()
        db.session.add_all([User(id=name, name=name.title()) for name in ("ann", BANNED)])
        db.session.commit()
    return app


def make_llm() -> LLMStream:
    llm = LLMStream("llm", __name__)

    @llm.authorize
    def owner() -> str:
        if not current_user.is_authenticated:
            abort(401)
        name: str = current_user.id
        return name

    @llm.authorize_usage
    def may_see() -> str:
        return owner()

    @llm.on_usage
    def bill(record: UsageRecord) -> None:
        db.session.add(Charge(stream=record.id, owner=record.owner))
        db.session.commit()

    return llm


def sign_in_by_cookie(app: Flask) -> None:
    manager = LoginManager(app)
    manager.user_loader(lambda name: db.session.get(User, name))

    @app.post("/sign-in/<name>")
    def sign_in(name: str) -> Response:
        login_user(db.session.get(User, name))
        return Response(status=204)


def add_views(app: Flask, llm: LLMStream, limiter: Limiter) -> None:
    client = OpenAI()

    @app.post("/ask")
    @limiter.limit(limit_of_user)
    @llm.cross_origin
    def ask() -> Response:
        return llm.respond(prompt=request.get_json()["text"])

    @app.get("/report")
    @limiter.limit(limit_of_user)
    def report() -> Response:
        return llm.respond(written())

    def written() -> Iterator[Any]:
        """What is about the request is asked for here, in the stream's own thread."""
        yield f"{current_user.name} {format_decimal(1234.5)} "
        yield f"{db.session.query(User).count()} {request.args.get('of')} "
        yield from client.chat.completions.create(model="other", messages=[], stream=True)
        if "raise" in request.args:
            raise RuntimeError("a mistake in a generator of the app's")

    @app.get("/broken")
    def broken() -> Response:
        raise RuntimeError("a mistake in a view of the app's")

    @app.get("/charges")
    def charges() -> Response:
        return jsonify([[charge.stream, charge.owner] for charge in db.session.query(Charge)])

    @app.get("/worker")
    def worker() -> Response:
        """What `Server` looks at."""
        return jsonify(threads=[], slots=sum(kept._running.total() for kept in streams.every()), pid=os.getpid())
