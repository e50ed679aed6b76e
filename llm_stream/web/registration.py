"""How a blueprint's views get into an app: below a prefix with variables, on a host of their own, several times."""

from __future__ import annotations

import inspect
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
from werkzeug.exceptions import NotFound
from werkzeug.routing import Map
from werkzeug.routing import MapAdapter
from werkzeug.routing import Rule

from ..errors import ConfigError

View = Callable[..., Any]


class Views(Blueprint):
    """A blueprint whose views are given their own arguments only, whatever variables its prefix or its host have.

    The others are where Flask has them, in `request.view_args`; the URLs that are built during the request contain
    them. `register_blueprint(…, host=…)` says the host, in an app that matches hosts.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.url_defaults(keep_variables)

    def make_setup_state(self, app: App, options: dict[str, Any], first_registration: bool = False) -> Registration:
        return Registration(self, app, options, first_registration)


class Registration(BlueprintSetupState):
    """One of a `Views` in an app."""

    def __init__(self, blueprint: Views, app: App, options: dict[str, Any], first_registration: bool) -> None:
        super().__init__(blueprint, app, options, first_registration)
        self._host: str | None = options.get("host")
        self._views: dict[View, View] = {}  # a view with two rules must stay one function
        if isinstance(app.blueprints.get(self.name_prefix), Views):
            outer = f"{self.name_prefix}."
            self._inherit(next(rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith(outer)))

    def _inherit(self, outer: Rule) -> None:
        """From a rule of the blueprint around this one: Flask hands down the prefix and the subdomain only."""
        self._host = self._host or outer.host
        self.url_defaults = {**(outer.defaults or {}), **self.url_defaults}

    def add_url_rule(self, rule: str, endpoint: str | None = None, view_func: Any = None, **options: Any) -> None:
        """Raises `ConfigError` where Flask would never find the rule."""
        if view_func is not None:
            view_func = self._views.setdefault(view_func, with_its_own_arguments(view_func))
            endpoint = endpoint or view_func.__name__
        if self._host is not None:
            options.setdefault("host", self._host)
        super().add_url_rule(rule, endpoint, view_func, **options)
        added = next(self.app.url_map.iter_rules(f"{self.name_prefix}.{self.name}.{endpoint}".lstrip(".")))
        self._host = added.host  # an app may have a way of its own to give its rules a host
        if self.app.url_map.host_matching and added.host is None:
            name = self.blueprint.name
            raise ConfigError(f"This app matches hosts, so say which: app.register_blueprint({name}, …, host='…')")

    def prefix(self) -> Prefix | None:
        """None where there is nothing that tells our addresses from the app's own."""
        path = (self.url_prefix or "").rstrip("/")
        return Prefix(self.app.url_map, path, self.subdomain, self._host) if path else None


class Prefix:
    """The addresses below a prefix, those without a route included."""

    def __init__(self, url_map: Map, path: str, subdomain: str | None, host: str | None) -> None:
        self._map = Map(
            [Rule(path + rest, subdomain=subdomain, host=host) for rest in ("", "/<path:rest>")],
            url_map.default_subdomain,
            converters=url_map.converters,
            host_matching=url_map.host_matching,
        )

    def holds(self, address: MapAdapter) -> bool:
        found = self._map.bind(address.server_name, subdomain=address.subdomain, path_info=address.path_info)
        try:
            found.match()
        except NotFound:
            return False
        except HTTPException:
            pass  # a redirect, to an address with a slash less
        return True


def with_its_own_arguments(view: View) -> View:
    """`view`, called without the values that it has no parameter for."""
    parameters = inspect.signature(view).parameters
    if inspect.iscoroutinefunction(view) or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return view

    @wraps(view)
    def called(**values: Any) -> Any:
        return view(**{name: value for name, value in values.items() if name in parameters})

    return called


def keep_variables(endpoint: str, values: dict[str, Any]) -> None:
    """Build a URL for the same tenant, or whatever the variables mean, that the current request is for."""
    if not has_request_context():
        return
    for name, value in (request.view_args or {}).items():
        if name not in values and current_app.url_map.is_endpoint_expecting(endpoint, name):
            values[name] = value
