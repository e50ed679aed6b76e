"""Registers a blueprint's views: several times, on a host, or below a prefix that has variables."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Blueprint
from flask import current_app
from flask import has_request_context
from flask import request
from flask.blueprints import BlueprintSetupState
from flask.sansio.app import App
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map
from werkzeug.routing import MapAdapter
from werkzeug.routing import RequestRedirect
from werkzeug.routing import Rule

from ..errors import ConfigError

View = Callable[..., Any]


class Views(Blueprint):
    """A blueprint whose views get only the arguments they declare.

    Flask passes a view every variable of its URL, including those of the prefix, the subdomain and the host. The
    undeclared ones stay in `request.view_args`, and URLs built during the request reuse them.
    In an app with `host_matching`, `register_blueprint(…, host=…)` sets the host.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.url_defaults(_reuse_url_variables)

    def make_setup_state(self, app: App, options: dict[str, Any], first_registration: bool = False) -> Registration:
        return Registration(self, app, options, first_registration)


class Registration(BlueprintSetupState):
    """One registration of a `Views` blueprint on an app."""

    def __init__(self, blueprint: Views, app: App, options: dict[str, Any], first_registration: bool) -> None:
        super().__init__(blueprint, app, options, first_registration)
        self._host: str | None = options.get("host")
        self._wrappers: dict[View, View] = {}  # Flask requires the same function for all rules of an endpoint
        if isinstance(app.blueprints.get(self.name_prefix), Views):
            self._inherit_from_parent()

    def _inherit_from_parent(self) -> None:
        """Take the parent blueprint's host and URL defaults from one of its rules: Flask does not pass them on."""
        rules = self.app.url_map.iter_rules()
        parent_rule = next(rule for rule in rules if rule.endpoint.startswith(f"{self.name_prefix}."))
        self._host = self._host or parent_rule.host
        self.url_defaults = {**(parent_rule.defaults or {}), **self.url_defaults}

    def add_url_rule(self, rule: str, endpoint: str | None = None, view_func: Any = None, **options: Any) -> None:
        """Raises `ConfigError` if the rule has no host in an app with `host_matching`: it would never match."""
        if view_func is not None:
            view_func = self._wrappers.setdefault(view_func, _with_declared_arguments(view_func))
            endpoint = endpoint or view_func.__name__
        if self._host is not None:
            options.setdefault("host", self._host)
        super().add_url_rule(rule, endpoint, view_func, **options)

        url_map, full_name = self.app.url_map, f"{self.name_prefix}.{self.name}.{endpoint}".lstrip(".")
        self._host = next(url_map.iter_rules(full_name)).host  # the app may have set a host itself
        if url_map.host_matching and self._host is None:
            name = self.blueprint.name
            raise ConfigError(f"This app uses host_matching. Pass a host: app.register_blueprint({name}, …, host='…')")

    def prefix(self) -> Prefix | None:
        """None without a URL prefix: then our addresses cannot be distinguished from the app's."""
        path = (self.url_prefix or "").rstrip("/")
        return Prefix(self.app.url_map, path, self.subdomain, self._host) if path else None


class Prefix:
    """All addresses at or below a URL prefix, with or without a route."""

    def __init__(self, url_map: Map, path: str, subdomain: str | None, host: str | None) -> None:
        self._map = Map(
            [Rule(path + rest, subdomain=subdomain, host=host) for rest in ("", "/", "/<path:rest>")],
            url_map.default_subdomain,
            converters=url_map.converters,
            host_matching=url_map.host_matching,
        )

    def rest_of(self, address: MapAdapter) -> str | None:
        """The path below the prefix; None for an address that is not below it."""
        # a variable in Werkzeug's rules can neither begin with a slash nor contain a line end
        path = re.sub("/{2,}", "/", address.path_info.replace("\n", " "))
        adapter = self._map.bind(address.server_name, subdomain=address.subdomain, path_info=path)
        try:
            _, variables = adapter.match()
        except RequestRedirect:
            return ""
        except HTTPException:
            return None
        return str(variables.get("rest", ""))


def _with_declared_arguments(view: View) -> View:
    """A wrapper that passes `view` only the values that it declares parameters for."""
    parameters = inspect.signature(view).parameters
    if inspect.iscoroutinefunction(view) or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return view

    @wraps(view)
    def wrapper(**values: Any) -> Any:
        return view(**{name: value for name, value in values.items() if name in parameters})

    return wrapper


def _reuse_url_variables(endpoint: str, values: dict[str, Any]) -> None:
    """Fill in a URL's missing variables from the current request, so that links stay with the same tenant."""
    if not has_request_context():
        return
    for name, value in (request.view_args or {}).items():
        if name not in values and current_app.url_map.is_endpoint_expecting(endpoint, name):
            values[name] = value
