"""Wherever the blueprint is put in an app, its routes answer there and the URLs that it makes lead back there."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import pytest
from flask import Blueprint
from flask import Flask
from flask import Response
from flask import request
from flask import url_for
from flask.testing import FlaskClient
from openai import OpenAI
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.routing import BaseConverter

from llm_stream import ConfigError
from llm_stream import LLMStream
from llm_stream.ledger import ledgers
from llm_stream.testing import Gate
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import eventually
from .conftest import text_of


@dataclass(frozen=True)
class Mount:
    """A way to put the blueprint into an app, and where it is then."""

    register: Callable[[Flask, LLMStream], None]
    prefix: str
    host: str = "localhost"
    tenant: object = "acme"
    options: tuple[tuple[str, Any], ...] = ()
    script_name: str = ""


class Tenants(BaseConverter):
    """A converter of the app's own, as for a row of a database."""

    def to_python(self, value: str) -> tuple[str, str]:
        return ("tenant", value)

    def to_url(self, value: Any) -> str:
        return str(value[1])


def in_prefix(app: Flask, llm: LLMStream) -> None:
    app.register_blueprint(llm, url_prefix="/t/<tenant>/llm")


def converted(app: Flask, llm: LLMStream) -> None:
    app.url_map.converters["tenant"] = Tenants
    app.register_blueprint(llm, url_prefix="/t/<tenant:tenant>/llm")


def without_prefix(app: Flask, llm: LLMStream) -> None:
    app.register_blueprint(llm)


def nested(app: Flask, llm: LLMStream) -> None:
    parent, grandparent = Blueprint("assistant", __name__), Blueprint("openai", __name__)
    parent.register_blueprint(llm, url_prefix="/llm")
    grandparent.register_blueprint(parent, url_prefix="/<tenant>")
    app.register_blueprint(grandparent, url_prefix="/t")


def by_subdomain(app: Flask, llm: LLMStream) -> None:
    app.register_blueprint(llm, url_prefix="/llm", subdomain="<tenant>")


def nested_by_subdomain(app: Flask, llm: LLMStream) -> None:
    parent = Blueprint("parent", __name__, subdomain="<tenant>")
    parent.register_blueprint(llm, url_prefix="/llm", subdomain="api")
    app.register_blueprint(parent)


def by_host(app: Flask, llm: LLMStream) -> None:
    app.register_blueprint(llm, url_prefix="/llm", host="<tenant>.example.com")


def by_host_of_the_app(app: Flask, llm: LLMStream) -> None:
    add_url_rule = app.add_url_rule

    def with_host(*args: Any, **options: Any) -> None:
        options.setdefault("host", "<tenant>.example.com")
        add_url_rule(*args, **options)

    app.add_url_rule = with_host  # type: ignore[method-assign]
    app.register_blueprint(llm, url_prefix="/llm")


def with_defaults(app: Flask, llm: LLMStream) -> None:
    app.register_blueprint(llm, url_prefix="/llm", url_defaults={"tenant": "acme"})


def twice(app: Flask, llm: LLMStream) -> None:
    app.register_blueprint(llm, url_prefix="/first")
    app.register_blueprint(llm, url_prefix="/t/<tenant>/second", name="second")


SUBDOMAINS = (("subdomain_matching", True),)
HOSTS = (("host_matching", True), ("static_host", "static.example.com"))

MOUNTS = {
    "prefix": Mount(in_prefix, "/t/acme/llm"),
    "converter": Mount(converted, "/t/acme/llm", tenant=("tenant", "acme")),
    "no prefix": Mount(without_prefix, "", tenant=None, options=(("static_folder", None),)),
    "below a path": Mount(in_prefix, "/app/t/acme/llm", script_name="/app"),
    "nested": Mount(nested, "/t/acme/llm"),
    "subdomain": Mount(by_subdomain, "/llm", "acme.example.com", options=SUBDOMAINS),
    "nested, subdomain": Mount(nested_by_subdomain, "/llm", "api.acme.example.com", options=SUBDOMAINS),
    "host": Mount(by_host, "/llm", "acme.example.com", options=HOSTS),
    "host of the app": Mount(by_host_of_the_app, "/llm", "acme.example.com", options=HOSTS),
    "url_defaults": Mount(with_defaults, "/llm"),
    "first of two": Mount(twice, "/first", tenant=None),
    "second of two": Mount(twice, "/t/acme/second"),
}


class Place:
    """The client of an app that the blueprint is mounted in."""

    def __init__(self, mount: Mount, upstream: Upstream, **settings: Any) -> None:
        self.mount = mount
        self.tenants: list[object] = []
        self.llm = LLMStream(
            "llm", __name__, model="scripted", client=OpenAI(base_url=upstream.base_url, api_key="sk-secret")
        )

        @self.llm.authorize
        def owner() -> str:
            self.tenants.append((request.view_args or {}).get("tenant"))
            return "me"

        self.llm.authorize_usage(lambda: True)
        self.app = Flask("mounted", **dict(mount.options))
        if mount.options == SUBDOMAINS:
            self.app.config["SERVER_NAME"] = "example.com"
        self.app.config.update(settings)
        mount.register(self.app, self.llm)
        if mount.script_name:
            below: dict[str, Any] = {mount.script_name: self.app.wsgi_app}
            self.app.wsgi_app = DispatcherMiddleware(Flask("nothing"), below)  # type: ignore[method-assign]
        self.client = self.app.test_client()

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """`path` is below the prefix; or one that was told, which is resolved as a browser does."""
        url = urljoin(f"http://{self.mount.host}{self.mount.prefix}/", path)
        path = url.removeprefix(f"http://{self.mount.host}")
        return self.client.open(path, base_url=f"http://{self.mount.host}", method=method, **options)


@pytest.fixture(params=MOUNTS)
def place(request: pytest.FixtureRequest, upstream: Upstream, tmp_path: Any) -> Iterator[Place]:
    url = f"sqlite:///{tmp_path / 'usage.db'}"
    place = Place(MOUNTS[request.param], upstream, LLM_STREAM_LEDGER_URL=url)
    yield place
    place.llm.close()
    for ledger in ledgers.every():
        ledger.close()


HI = [{"role": "user", "content": "hi"}]
TURN = {"id": "c1", "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]}
RUN = {
    "threadId": "t1",
    "runId": "r1",
    "state": {},
    "messages": [{"id": "m1", "role": "user", "content": "hi"}],
    "tools": [],
    "context": [],
    "forwardedProps": {},
}

ROUTES: list[tuple[str, str, Any, int]] = [
    ("GET", "chat?prompt=hi", None, 200),
    ("POST", "chat", {"prompt": "hi"}, 200),
    ("POST", "streams", {"prompt": "hi"}, 201),
    ("GET", "streams?after=unknown-0", None, 200),
    ("GET", "streams/unknown", None, 404),
    ("DELETE", "streams/unknown", None, 404),
    ("POST", "streams/unknown/cancel", None, 404),
    ("POST", "v1/chat/completions", {"model": "scripted", "messages": HI}, 200),
    ("POST", "v1/responses", {"model": "scripted", "input": "hi"}, 200),
    ("GET", "v1/responses/unknown", None, 404),
    ("POST", "v1/responses/unknown/cancel", None, 404),
    ("DELETE", "v1/responses/unknown", None, 404),
    ("GET", "v1/models", None, 200),
    ("GET", "v1/models/scripted", None, 200),
    ("POST", "ui/chat", TURN, 200),
    ("GET", "ui/chat/c1/stream", None, 204),
    ("DELETE", "ui/chat/c1/stream", None, 204),
    ("POST", "ui/chat/c1/stop", None, 204),
    ("POST", "agui", RUN, 200),
    ("POST", "agui/t1/stop", None, 204),
    ("GET", "usage", None, 200),
    ("GET", "usage.json", None, 200),
    ("GET", "usage.csv", None, 200),
    ("GET", "static/llm-stream.js", None, 200),
    ("GET", "healthz", None, 200),
    ("GET", "readyz", None, 200),
    ("GET", "openapi.json", None, 200),
]

UNGUARDED = ("usage", "static", "healthz", "readyz", "openapi")
"""Where `authorize` is not asked."""


def test_every_route_answers_and_authorize_sees_the_variables_of_the_prefix(place: Place, upstream: Upstream) -> None:
    for _ in ROUTES:
        upstream.answer("Hello")
    for method, path, body, status in ROUTES:
        place.tenants.clear()
        answer = place.ask(method, path, json=body)
        answer.get_data()
        answer.close()
        assert answer.status_code == status, (method, path, answer.text)
        if not path.startswith(UNGUARDED):
            assert place.tenants == [place.mount.tenant], (method, path)


def test_routes_of_the_list_are_all_that_there_are(place: Place) -> None:
    """A new one must be tried as well."""
    known = {
        (rule.endpoint.rpartition(".")[2], method)
        for rule in place.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.endpoint != "static"
    }
    assert len(known) == len(ROUTES)


def test_stream_that_was_started_is_read_and_stopped_under_the_url_it_was_given(
    place: Place, upstream: Upstream
) -> None:
    gate = Gate()
    upstream.answer("Hello", gate)
    started = place.ask("POST", "streams", json={"prompt": "hi"})
    url = started.json["url"]
    assert url == f"{place.mount.prefix}/streams/{started.json['id']}"
    assert started.headers["Location"] == url
    so_far = {"Accept": "application/json"}
    eventually(lambda: place.ask("GET", url, headers=so_far).json["text"] == "Hello")
    assert place.ask("POST", f"{url}/cancel").status_code == 204
    events = read_events(place.ask("GET", url).data)
    assert (text_of(events), events[-1][2]["status"]) == ("Hello", "cancelled")


@pytest.mark.parametrize("streamed", [True, False])
def test_openai_answer_names_the_url_of_its_stream(place: Place, upstream: Upstream, streamed: bool) -> None:
    upstream.answer("Hello")
    answer = place.ask("POST", "v1/chat/completions", json={"messages": HI, "stream": streamed})
    url = answer.headers["x-llm-stream-url"]
    assert url == f"{place.mount.prefix}/streams/{answer.headers['x-request-id']}"
    assert text_of(read_events(place.ask("GET", url).data)) == "Hello"
    answer.close()


def test_links_of_the_usage_page_lead_somewhere(place: Place) -> None:
    html = place.ask("GET", "usage").text
    links = set(re.findall(r'(?:href|src|action)="([^"]+)"', html)) - {"data:,"}
    assert {link.partition("?")[0].rpartition("/")[2] for link in links} == {
        "usage",
        "usage.csv",
        "usage.json",
        "usage.css",
        "usage.js",
    }
    for link in links:
        answer = place.ask("GET", link.replace("&amp;", "&"))
        answer.close()
        assert answer.status_code == 200, link


def test_view_of_the_app_beside_it_may_build_its_urls_for_the_same_tenant(upstream: Upstream) -> None:
    place = Place(MOUNTS["prefix"], upstream)
    place.app.add_url_rule("/t/<tenant>/page", view_func=lambda tenant: url_for("llm.chat"), endpoint="page")
    assert place.app.test_client().get("/t/acme/page").text == "/t/acme/llm/chat"
    with place.app.test_request_context("/"):
        assert url_for("llm.chat", tenant="other") == "/t/other/llm/chat"


def test_variables_that_the_app_takes_out_itself_are_its_own_affair(upstream: Upstream) -> None:
    """As in Flask's own pattern for the language in a URL."""
    place = Place(MOUNTS["prefix"], upstream)
    taken: list[str] = []

    @place.app.url_value_preprocessor
    def take(endpoint: str | None, values: dict[str, Any] | None) -> None:
        taken.append((values or {}).pop("tenant"))

    @place.app.url_defaults
    def give(endpoint: str, values: dict[str, Any]) -> None:
        values.setdefault("tenant", taken[-1])

    upstream.answer("Hello")
    started = place.ask("POST", "streams", json={"prompt": "hi"})
    assert started.headers["Location"].startswith("/t/acme/llm/streams/")
    assert text_of(read_events(place.ask("GET", started.json["url"]).data)) == "Hello"
    place.llm.close()


def test_views_that_an_app_adds_to_the_blueprint_get_what_they_ask_for(upstream: Upstream) -> None:
    llm = LLMStream("llm", __name__, model="m", client=OpenAI(base_url=upstream.base_url, api_key="x"))
    llm.authorize(lambda: "me")
    llm.add_url_rule("/neither", view_func=lambda: "neither", endpoint="neither")
    llm.add_url_rule("/one", view_func=lambda tenant: f"one {tenant}", endpoint="one")
    llm.add_url_rule("/all/<of>", view_func=lambda **values: f"all {values}", endpoint="all")
    app = Flask("hosting")
    app.register_blueprint(llm, url_prefix="/<tenant>")
    client = app.test_client()
    assert client.get("/acme/neither").text == "neither"
    assert client.get("/acme/one").text == "one acme"
    assert client.get("/acme/all/of").text == "all {'tenant': 'acme', 'of': 'of'}"


@pytest.mark.parametrize("name", ["name", "model", "path", "id", "key"])
def test_usual_names_of_variables_do_not_clash_with_ours(upstream: Upstream, name: str) -> None:
    llm = LLMStream("llm", __name__, model="m", client=OpenAI(base_url=upstream.base_url, api_key="x"))
    llm.authorize(lambda: "me")
    app = Flask("hosting")
    app.register_blueprint(llm, url_prefix=f"/<{name}>/llm")
    assert app.test_client().get("/x/llm/v1/models/m").json["id"] == "m"


def test_blueprint_without_a_host_is_refused_where_hosts_are_matched() -> None:
    """Flask would answer every request to it with 404."""
    app = Flask(__name__, host_matching=True, static_host="example.com")
    llm = LLMStream("llm", __name__, model="m")
    llm.authorize(lambda: "me")
    with pytest.raises(ConfigError, match="host="):
        app.register_blueprint(llm, url_prefix="/llm")


@pytest.mark.parametrize("path", ["nothing", "nothing/at/all", "chat/", "v1/nothing"])
def test_address_below_the_prefix_that_does_not_exist_is_refused_in_json(place: Place, path: str) -> None:
    answer = place.ask("GET", path)
    assert answer.status_code == 404
    if place.mount.prefix:
        assert answer.json["error"]["code"] == "not_found"
    else:
        assert answer.mimetype == "text/html"  # an address of the app's, as far as anybody can tell


def test_method_that_a_route_does_not_have_is_refused_in_json(place: Place) -> None:
    answer = place.ask("PUT", "chat")
    assert answer.status_code == 405
    assert {"GET", "POST"} <= set(answer.allow)
    if place.mount.prefix:
        assert answer.json["error"]["code"] == "method_not_allowed"


def test_addresses_that_only_look_like_ours_are_left_to_the_app(upstream: Upstream) -> None:
    place = Place(MOUNTS["prefix"], upstream)
    place.app.register_error_handler(404, lambda error: ("the app's own page", 404))
    place.app.add_url_rule("/t/<tenant>/llm/mine", view_func=lambda tenant: "mine", endpoint="mine")
    client: FlaskClient = place.app.test_client()
    for path in ("/nothing", "/t/acme/llmx", "/t/acme", "/t/acme/llm-x/chat", "/t/a/b/llm/chat"):
        assert client.get(path).text == "the app's own page", path
    assert client.get("/t/acme/llm/mine").text == "mine"
    assert client.get("/t/acme/llm/nothing").json["error"]["code"] == "not_found"


def test_view_of_the_app_that_aborts_keeps_its_own_404(upstream: Upstream) -> None:
    place = Place(MOUNTS["prefix"], upstream)

    @place.app.get("/t/<tenant>/llm/missing")
    def missing(tenant: str) -> Response:
        return Response("no such row", 404)

    assert place.ask("GET", "missing").text == "no such row"
