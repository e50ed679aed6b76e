"""The state of one `LLMStream` in one app: created at registration, looked up in every request."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING
from typing import Any
from typing import TextIO
from typing import cast
from weakref import WeakSet

from flask import Blueprint
from flask import Config
from flask import Flask
from flask import current_app
from flask.blueprints import BlueprintSetupState
from flask.logging import default_handler
from flask.logging import has_level_handler
from flask.logging import wsgi_errors_stream

from ..core.books import Books
from ..core.hooks import Hooks
from ..core.streams import Streams
from ..core.tools.approvals import Approvals
from ..core.transforms import Transform
from ..core.transforms import Transforms
from ..errors import ConfigError
from ..errors import LLMStreamError
from ..settings import PREFIX
from ..settings import ApiName
from ..settings import Settings
from ..upstream.client import Client
from ..upstream.client import know_the_platform
from ..upstream.upstreams import Upstreams
from ..usage.budget import BudgetOf
from ..usage.logging import JSONLines
from . import response
from .registration import Prefix
from .registration import Registration

if TYPE_CHECKING:
    from ..ledger.ledger import Ledger

logger = logging.getLogger("llm_stream")

EXTENSION = "llm_stream"

_apps: WeakSet[Flask] = WeakSet()


@dataclass(frozen=True)
class State:
    """An `LLMStream` stores nothing of an app itself, so that several apps can register it."""

    app: Flask
    settings: Settings
    model: str
    streams: Streams
    ledger: Ledger | None
    approvals: Approvals
    upstreams: Upstreams
    prefixes: list[Prefix]
    """One for each registration with a URL prefix."""
    descriptions: dict[str, dict[str, Any]] = field(default_factory=dict)
    """In OpenAPI, by the name of a registration: made when it is asked for."""


def current(llm: Blueprint) -> State:
    """The state of an `LLMStream` in the current app."""
    try:
        state: State = current_app.extensions[EXTENSION][llm]
    except KeyError:
        raise RuntimeError(f"The LLMStream {llm.name!r} is not registered on this app.") from None
    return state


def install(
    setup: BlueprintSetupState,
    llm: Blueprint,
    *,
    model: str | None,
    client: Client,
    api: ApiName | None,
    is_guarded: bool,
    hooks: Hooks,
    transforms: Sequence[Transform],
    budget_of: BudgetOf | None,
) -> None:
    """Read the settings and create the state, at the first registration on an app. Raises `ConfigError`."""
    app = cast(Flask, setup.app)
    states = app.extensions.setdefault(EXTENSION, {})
    prefixes = [prefix] if (prefix := cast(Registration, setup).prefix()) else []
    if llm in states:
        states[llm].prefixes.extend(prefixes)
        return
    _take_defaults_from_environment(app)
    settings = Settings.from_config(app.config)
    if not is_guarded and not settings.public:
        raise ConfigError(
            f"Anybody could spend your money: decorate a function with @{llm.name}.authorize that returns who pays,"
            " or set LLM_STREAM_PUBLIC = True."
        )
    model = model or settings.model
    if model is None:
        raise ConfigError(f"Which model? LLMStream({llm.name!r}, …, model='…'), or LLM_STREAM_MODEL.")
    settings.check_is_served(model)

    books = Books(app, llm.name, settings, hooks, model, budget_of)
    streams = Streams(llm.name, settings, books, Transforms(transforms, app.app_context))
    approvals = Approvals(_signing_key(app), llm.name)
    upstreams = Upstreams(settings.upstreams, client, partial(settings.api_of, default=api))
    states[llm] = State(app, settings, model, streams, books.ledger, approvals, upstreams, prefixes)
    _apps.add(app)
    app.register_error_handler(LLMStreamError, response.error_response)
    _make_log_visible(settings.log_format)
    know_the_platform()


def apps() -> Iterator[Flask]:
    """The apps of this process that have an `LLMStream`."""
    return iter(list(_apps))


def _signing_key(app: Flask) -> Callable[[], str | bytes]:
    """The app's `SECRET_KEY`. An app without one has a key of this process, which other workers do not know."""
    own = secrets.token_bytes(32)
    return lambda: app.secret_key or own


def _take_defaults_from_environment(app: Flask) -> None:
    environment = Config(app.root_path)
    environment.from_prefixed_env(PREFIX.rstrip("_"))
    for name, value in environment.items():
        app.config.setdefault(PREFIX + name, value)


def _make_log_visible(format: str) -> None:
    """As Flask does for its own logger. Otherwise nobody would see the usage lines."""
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if format == "json":
        _write_json()
    elif not has_level_handler(logger):
        logger.addHandler(default_handler)


def _write_json() -> None:
    """To the same stream, without propagation: the app's own handlers would write each line again."""
    logger.removeHandler(default_handler)
    logger.propagate = False
    if not any(isinstance(handler.formatter, JSONLines) for handler in logger.handlers):
        handler = logging.StreamHandler(cast(TextIO, wsgi_errors_stream))
        handler.setFormatter(JSONLines())
        logger.addHandler(handler)
