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
from . import metrics
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
    """All that belongs to one app. The `LLMStream` itself stores none of it, so several apps can register it."""

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
    """The OpenAPI description of each registration, by its name. Each is built at the first request for it."""


def current(llm: Blueprint) -> State:
    """The state of an `LLMStream` in the current app."""
    try:
        state: State = current_app.extensions[EXTENSION][llm]
    except KeyError:
        raise RuntimeError(
            f"The LLMStream {llm.name!r} is not registered on this app. Call app.register_blueprint()."
        ) from None
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
            f"Without authorize, anyone could spend your money. Decorate a function with @{llm.name}.authorize that"
            " returns the owner who pays, or set LLM_STREAM_PUBLIC = True."
        )
    model = model or settings.model
    if model is None:
        raise ConfigError(f"No model is set. Pass one, LLMStream({llm.name!r}, …, model='…'), or set LLM_STREAM_MODEL.")
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
    metrics.begin()


def apps() -> Iterator[Flask]:
    """The apps of this process that have an `LLMStream`."""
    return iter(list(_apps))


def _signing_key(app: Flask) -> Callable[[], str | bytes]:
    """The app's `SECRET_KEY`, or else a random key of this process, which other workers do not have."""
    own = secrets.token_bytes(32)
    return lambda: app.secret_key or own


def _take_defaults_from_environment(app: Flask) -> None:
    environment = Config(app.root_path)
    environment.from_prefixed_env(PREFIX.rstrip("_"))
    for name, value in environment.items():
        app.config.setdefault(PREFIX + name, value)


def _make_log_visible(format: str) -> None:
    """Set a level and a handler, as Flask does for its own logger. Otherwise the usage lines would not appear."""
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if format == "json":
        _write_json()
    elif not has_level_handler(logger):
        logger.addHandler(default_handler)


def _write_json() -> None:
    """Log JSON to the same stream as Flask. Without propagation, or the app's own handlers would repeat each line."""
    logger.removeHandler(default_handler)
    logger.propagate = False
    if not any(isinstance(handler.formatter, JSONLines) for handler in logger.handlers):
        handler = logging.StreamHandler(cast(TextIO, wsgi_errors_stream))
        handler.setFormatter(JSONLines())
        logger.addHandler(handler)
