"""What pages of another origin may read: each answer of ours and of `respond()`, errors included, and nothing else."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Blueprint
from flask import Flask
from flask import Response
from flask import abort
from flask import request
from flask import session
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from flask.views import MethodView
from flask_cors import CORS
from flask_cors import cross_origin
from openai import OpenAI

from llm_stream import LLMStream
from llm_stream import LLMStreamError
from llm_stream.testing import Gate
from llm_stream.testing import Upstream
from llm_stream.testing import read_events
from llm_stream.web.access import EXPOSED

MakeApp = Callable[..., Flask]
Arrange = Callable[[Flask], None]

FRIEND = "https://friend.example"
STRANGER = "https://stranger.example"
FROM_FRIEND = {"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"}

ALLOW_ORIGIN = "Access-Control-Allow-Origin"
CREDENTIALS = "Access-Control-Allow-Credentials"
TURN = {"id": "c1", "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]}


def words(value: str) -> list[str]:
    return [word.strip().lower() for word in value.split(",")]


def is_readable(response: Any, origin: str = FRIEND) -> bool:
    """By a page that sends its cookies along; asserts that what a browser looks at makes one sense."""
    headers = response.headers
    for name in (ALLOW_ORIGIN, CREDENTIALS, "Access-Control-Expose-Headers", "Vary"):
        assert len(headers.getlist(name)) <= 1, (name, headers.getlist(name))
    vary = words(headers.get("Vary", ""))
    assert len(vary) == len(set(vary))
    if headers.get(ALLOW_ORIGIN) != origin:
        return False
    assert "origin" in vary
    assert headers[CREDENTIALS] == "true"
    assert {name.lower() for name in EXPOSED} <= set(words(headers["Access-Control-Expose-Headers"]))
    return True


def preflight(client: FlaskClient, path: str, method: str, origin: str = FRIEND, **options: Any) -> Any:
    """As Chromium sends it: never with cookies."""
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "content-type"}
    return client.options(path, headers={"Origin": origin, **asked}, **options)


def may_send(response: Any, method: str, origin: str = FRIEND) -> bool:
    if not (200 <= response.status_code < 300 and is_readable(response, origin)):
        return False
    methods = words(response.headers["Access-Control-Allow-Methods"])
    return method.lower() in methods and "content-type" in words(response.headers["Access-Control-Allow-Headers"])


@pytest.fixture
def llm(upstream: Upstream) -> LLMStream:
    llm = LLMStream("llm", __name__, model="m", client=OpenAI(base_url=upstream.base_url, api_key="x"))

    @llm.authorize
    def owner() -> str | None:
        if request.args.get("who") == "abort":
            abort(401)
        return None if request.args.get("who") == "nobody" else "me"

    return llm


@pytest.fixture
def app(make_app: MakeApp, llm: LLMStream) -> Flask:
    """The blueprint and a view of the app's own; answers may be queued."""
    app = make_app(llm, origins=[FRIEND], public=False, max_streams_per_owner=2)
    app.secret_key = "secret"

    @app.route("/ask", methods=["GET", "POST"])
    def ask() -> Response:
        session["seen"] = True  # makes it vary by cookie
        return llm.respond(prompt=request.args.get("prompt", "hi"), key=request.args.get("key"))

    @app.get("/mine")
    def mine() -> str:
        return "my secrets"

    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


# Which answers…

BROKEN_OFF = {"Last-Event-ID": "unknown-3"}
EVERY_ANSWER: list[tuple[str, str, int, dict[str, Any]]] = [
    ("GET", "/llm/chat?prompt=hi", 200, {}),
    ("GET", "/llm/chat?prompt=hi&who=nobody", 401, {}),
    ("GET", "/llm/chat?prompt=hi&who=abort", 401, {}),
    ("GET", "/llm/chat", 422, {}),
    ("GET", "/llm/chat?prompt=hi", 204, {"headers": BROKEN_OFF}),
    ("HEAD", "/llm/chat?prompt=hi", 200, {}),
    ("POST", "/llm/chat", 200, {"json": {"prompt": "hi"}}),
    ("POST", "/llm/chat", 415, {"data": "hi"}),
    ("POST", "/llm/streams", 201, {"json": {"prompt": "hi"}}),
    ("GET", "/llm/streams/unknown", 404, {}),
    ("POST", "/llm/v1/chat/completions", 200, {"json": {"messages": [{"role": "user", "content": "hi"}]}}),
    ("POST", "/llm/v1/chat/completions", 400, {"json": {"messages": []}}),
    ("GET", "/llm/v1/models?who=abort", 401, {}),
    ("POST", "/llm/ui/chat", 200, {"json": TURN}),
    ("POST", "/llm/ui/chat", 422, {"json": {}}),
    ("GET", "/llm/ui/chat/c1/stream", 204, {}),
    ("POST", "/llm/agui", 422, {"json": {}}),
    ("GET", "/llm/usage.json", 403, {}),
    ("GET", "/llm/static/llm-stream.js", 200, {}),
    ("GET", "/llm/static/nothing.js", 404, {}),
    ("GET", "/llm/nothing", 404, {}),
    ("POST", "/llm/streams/x/nothing", 404, {}),
    ("PUT", "/llm/chat", 405, {}),
    ("GET", "/llm//chat?prompt=hi", 308, {}),
    ("GET", "/ask", 200, {}),
    ("GET", "/ask", 204, {"headers": BROKEN_OFF}),
    ("HEAD", "/ask", 200, {}),
    ("POST", "/ask", 200, {}),
    ("GET", "/ask?prompt=", 422, {}),
    ("GET", "/ask?format=xml", 422, {}),
    ("GET", "/ask?who=nobody", 401, {}),
    ("GET", "/ask?who=abort", 401, {}),
    ("GET", "/ask?key=%20", 422, {}),
]


@pytest.mark.parametrize(("method", "path", "status", "options"), EVERY_ANSWER, ids=str)
def test_every_answer_is_readable_by_an_allowed_origin_and_by_no_other(
    client: FlaskClient, upstream: Upstream, method: str, path: str, status: int, options: dict[str, Any]
) -> None:
    upstream.answer("Hello")
    headers = options.pop("headers", {})
    response = client.open(path, method=method, headers=FROM_FRIEND | headers, buffered=True, **options)
    assert response.status_code == status, response.text
    assert is_readable(response)
    other = client.open(path, method=method, headers={"Origin": STRANGER} | headers, buffered=True, **options)
    assert ALLOW_ORIGIN not in other.headers and CREDENTIALS not in other.headers
    assert "origin" in words(other.headers["Vary"])


@pytest.mark.parametrize("path", ["/llm/chat", "/ask"])
def test_resumed_answer_is_readable_like_the_first(client: FlaskClient, upstream: Upstream, path: str) -> None:
    upstream.answer("Hello")
    first = read_events(client.get(f"{path}?prompt=hi", headers=FROM_FRIEND).data)
    for at, status in ((1, 200), (len(first), 204)):
        again = client.get(f"{path}?prompt=hi", headers=FROM_FRIEND | {"Last-Event-ID": first[at - 1][0]})
        assert again.status_code == status
        assert read_events(again.data) == first[at:]
        assert is_readable(again)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("path", ["/llm/chat?prompt=hi", "/ask"])
def test_refusal_for_want_of_room_tells_an_allowed_origin_when_to_come_back(
    client: FlaskClient, upstream: Upstream, path: str
) -> None:
    gate = Gate()
    for _ in range(2):
        upstream.answer(gate)
        client.post("/llm/streams", json={"prompt": "hi"})
    response = client.post(path, headers=FROM_FRIEND, json={"prompt": "hi"})
    assert response.status_code == 429 and response.headers["Retry-After"]
    assert is_readable(response)
    gate.open()


@pytest.mark.parametrize("path", ["/llm/chat", "/ask"])
def test_refusal_of_the_provider_is_readable(client: FlaskClient, upstream: Upstream, path: str) -> None:
    upstream.answer(status=400)
    response = client.post(path, headers=FROM_FRIEND, json={"prompt": "hi"})
    assert response.status_code == 400 and is_readable(response)


def test_error_that_the_app_renders_its_own_way_is_readable(app: Flask, client: FlaskClient) -> None:
    app.register_error_handler(LLMStreamError, lambda error: (f"oh: {error.code}", 418))
    for path in ("/llm/chat", "/ask?prompt="):
        response = client.get(path, headers=FROM_FRIEND)
        assert response.status_code == 418 and is_readable(response)


def test_mistake_in_authorize_is_a_readable_500(make_app: MakeApp, llm: LLMStream) -> None:
    llm.authorize(lambda: True)
    app = make_app(llm, origins=[FRIEND], public=False)
    app.add_url_rule("/ask", view_func=lambda: llm.respond(prompt="hi"))
    for path in ("/llm/chat", "/ask"):
        response = app.test_client().get(path, headers=FROM_FRIEND)
        assert response.status_code == 500 and is_readable(response)


def test_answer_to_a_request_that_the_app_stops_before_our_view_is_readable(app: Flask, client: FlaskClient) -> None:
    app.before_request(lambda: abort(429))
    response = client.get("/llm/chat?prompt=hi", headers=FROM_FRIEND)
    assert response.status_code == 429 and is_readable(response)


def test_without_origins_nothing_is_said(make_app: MakeApp, llm: LLMStream) -> None:
    app = make_app(llm, public=False)
    app.add_url_rule("/ask", view_func=lambda: llm.respond(prompt=""))
    for path in ("/llm/chat", "/ask", "/llm/nothing"):
        response = app.test_client().get(path, headers={"Origin": FRIEND})
        assert not [name for name, _ in response.headers if name.startswith("Access-Control")]
        assert "Vary" not in response.headers


def test_pages_of_no_other_view_of_the_app_are_readable(app: Flask, llm: LLMStream, client: FlaskClient) -> None:
    """Neither what a view with an answer of ours says besides, by another method or in another case."""

    @app.route("/form", methods=["GET", "POST"])
    def form() -> ResponseReturnValue:
        return llm.respond(prompt="") if request.args.get("ask") else "a form with a secret in it"

    assert is_readable(client.post("/form?ask=1", headers=FROM_FRIEND))
    for method, path in (("GET", "/form"), ("POST", "/form"), ("GET", "/mine"), ("GET", "/nothing"), ("PUT", "/ask")):
        response = client.open(path, method=method, headers=FROM_FRIEND)
        assert not [name for name, _ in response.headers if name.startswith("Access-Control")], path


def test_pages_of_the_app_are_not_readable_where_the_blueprint_has_no_prefix(upstream: Upstream) -> None:
    llm = LLMStream("llm", __name__, model="m")
    llm.authorize(lambda: "me")
    app = Flask("hosting")
    app.config["LLM_STREAM_ORIGINS"] = [FRIEND]
    app.register_blueprint(llm)
    app.register_error_handler(404, lambda error: ("a page with a secret in it", 404))
    client = app.test_client()
    assert ALLOW_ORIGIN not in client.get("/nothing", headers=FROM_FRIEND).headers
    assert is_readable(client.get("/chat", headers=FROM_FRIEND))


def test_two_on_one_app_and_two_apps_keep_their_origins_apart(llm: LLMStream) -> None:
    apps = []
    for origins in ([FRIEND], [STRANGER]):
        app = Flask("hosting")
        app.config["LLM_STREAM_ORIGINS"] = origins
        app.register_blueprint(llm, url_prefix="/llm")
        other = LLMStream("other", __name__, model="m")
        other.authorize(lambda: "me")
        app.register_blueprint(other, url_prefix="/other")
        apps.append(app.test_client())
    for client, theirs, others in ((apps[0], FRIEND, STRANGER), (apps[1], STRANGER, FRIEND)):
        for path in ("/llm/chat", "/other/chat", "/llm/nothing"):
            assert is_readable(client.get(path, headers={"Origin": theirs}), theirs)
            assert not is_readable(client.get(path, headers={"Origin": others}), others)


def test_app_that_is_done_with_is_not_kept_alive() -> None:
    llm = LLMStream("llm", __name__, model="m")
    llm.authorize(lambda: "me")
    app = Flask("hosting")
    app.config["LLM_STREAM_ORIGINS"] = [FRIEND]
    app.register_blueprint(llm, url_prefix="/llm")
    assert is_readable(app.test_client().get("/llm/nothing", headers=FROM_FRIEND))
    kept = weakref.ref(app)
    del app
    gc.collect()
    assert kept() is None


# Preflights…


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/llm/chat"),
        ("POST", "/llm/streams"),
        ("GET", "/llm/streams/x"),
        ("DELETE", "/llm/streams/x"),
        ("POST", "/llm/v1/chat/completions"),
        ("POST", "/llm/ui/chat"),
        ("POST", "/llm/agui"),
        ("PUT", "/llm/chat"),
        ("POST", "/llm/nothing"),
    ],
)
def test_preflight_to_our_routes_lets_an_allowed_origin_send(client: FlaskClient, method: str, path: str) -> None:
    """Also what is refused then, with an error that the page can read."""
    assert may_send(preflight(client, path, method), method)
    assert not may_send(preflight(client, path, method, STRANGER), method, STRANGER)


def test_preflight_to_a_view_of_the_app_is_the_apps_until_the_view_is_decorated(
    client: FlaskClient, upstream: Upstream
) -> None:
    """To let anybody send JSON with cookies to a view that knows nothing of it would be cross-site request forgery."""
    upstream.answer("Hello")
    client.post("/ask", headers=FROM_FRIEND, buffered=True)
    for path in ("/ask", "/mine"):
        response = preflight(client, path, "POST")
        assert response.status_code == 200
        assert not [name for name, _ in response.headers if name.startswith("Access-Control")]


def test_decorated_view_is_open_to_preflights_and_readable_whatever_it_answers(
    app: Flask, llm: LLMStream, client: FlaskClient, upstream: Upstream
) -> None:
    @app.post("/open/<what>")
    @llm.cross_origin
    def opened(what: str) -> Response:
        if what == "nothing":
            abort(404)
        return llm.respond(prompt=what)

    upstream.answer("Hello")
    assert may_send(preflight(client, "/open/hi", "POST"), "POST")
    assert not may_send(preflight(client, "/open/hi", "POST", STRANGER), "POST", STRANGER)
    for path, status in (("/open/hi", 200), ("/open/nothing", 404)):
        response = client.post(path, headers=FROM_FRIEND, json={}, buffered=True)
        assert response.status_code == status and is_readable(response)


def test_decorated_view_opens_no_other_view_of_its_address(app: Flask, llm: LLMStream, client: FlaskClient) -> None:
    @app.post("/both")
    @llm.cross_origin
    def ask_there() -> Response:
        return llm.respond(prompt="hi")

    @app.route("/both", methods=["GET", "DELETE"])
    def delete_there() -> str:
        return "deleted"

    assert may_send(preflight(client, "/both", "POST"), "POST")
    assert not may_send(preflight(client, "/both", "DELETE"), "DELETE")
    assert ALLOW_ORIGIN not in client.get("/both", headers=FROM_FRIEND).headers


def test_decorated_view_may_be_a_class_or_answer_its_preflight_itself(
    app: Flask, llm: LLMStream, client: FlaskClient
) -> None:
    class Ask(MethodView):
        decorators = [llm.cross_origin]  # noqa: RUF012 - as Flask has it

        def post(self) -> Response:
            return llm.respond(prompt="")

    app.add_url_rule("/class", view_func=Ask.as_view("class"))

    @app.route("/itself", methods=["POST", "OPTIONS"])
    @llm.cross_origin
    def itself() -> Response:
        return Response(status=204) if request.method == "OPTIONS" else llm.respond(prompt="")

    for path in ("/class", "/itself"):
        assert may_send(preflight(client, path, "POST"), "POST")
        assert is_readable(client.post(path, headers=FROM_FRIEND))


def test_preflights_reach_a_blueprint_below_variables_and_inside_another(llm: LLMStream) -> None:
    app, outer = Flask("hosting"), Blueprint("outer", __name__)
    app.config["LLM_STREAM_ORIGINS"] = [FRIEND]
    outer.register_blueprint(llm, url_prefix="/llm")
    app.register_blueprint(outer, url_prefix="/t/<tenant>")
    client = app.test_client()
    for path in ("/t/acme/llm/chat", "/t/acme/llm/v1/chat/completions", "/t/acme/llm/nothing"):
        assert may_send(preflight(client, path, "POST"), "POST")
        assert is_readable(client.get(path, headers=FROM_FRIEND))


def test_host_that_is_not_trusted_is_refused_as_the_app_refuses_it(app: Flask, client: FlaskClient) -> None:
    app.config["TRUSTED_HOSTS"] = ["localhost"]
    for path in ("/llm/chat", "/llm/nothing", "/mine"):
        assert preflight(client, path, "POST", base_url="http://evil.example").status_code == 400
        assert client.get(path, base_url="http://evil.example").status_code == 400


# Beside others…


def by_hand(app: Flask) -> None:
    """As every second answer on the web has it."""

    @app.after_request
    def add(response: Response) -> Response:
        response.headers.add("Access-Control-Allow-Origin", "*")
        response.headers.add("Access-Control-Allow-Headers", "Content-Type")
        response.headers.add("Access-Control-Allow-Methods", "GET")
        response.headers.add("Access-Control-Expose-Headers", "x-of-the-app")
        response.headers.add("Vary", "origin")
        return response


OTHERS: dict[str, Arrange] = {
    "by hand": by_hand,
    "for all": lambda app: void(CORS(app)),
    "for all, as a wildcard": lambda app: void(CORS(app, send_wildcard=True)),
    "with credentials": lambda app: void(CORS(app, supports_credentials=True)),
    "for others": lambda app: void(CORS(app, origins=[STRANGER, "https://other.example"])),
    "for the same": lambda app: void(CORS(app, origins=[FRIEND], expose_headers=["x-of-the-app"])),
    "not for errors": lambda app: void(CORS(app, intercept_exceptions=False)),
    "without vary": lambda app: void(CORS(app, origins=[FRIEND], vary_header=False)),
    "twice": lambda app: void(CORS(app), CORS(app)),
}


def void(*_: object) -> None:
    pass


@pytest.fixture(params=["before", "after"])
def when(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


@pytest.mark.parametrize("arrange", OTHERS.values(), ids=OTHERS)
def test_beside_others_that_set_such_headers_ours_are_there_once(
    llm: LLMStream, upstream: Upstream, arrange: Arrange, when: str
) -> None:
    upstream.answer("Hello")
    app = Flask("hosting")
    app.config["LLM_STREAM_ORIGINS"] = [FRIEND]
    app.secret_key = "secret"
    if when == "before":
        arrange(app)
    app.register_blueprint(llm, url_prefix="/llm")
    if when == "after":
        arrange(app)

    @app.route("/ask", methods=["GET", "POST"])
    @llm.cross_origin
    def ask() -> Response:
        session["seen"] = True
        if request.args.get("prompt") == "bug":
            raise RuntimeError("a mistake of the app's")
        return llm.respond(prompt=request.args.get("prompt", "hi"))

    client = app.test_client()
    paths = ["/llm/chat", "/llm/chat?who=abort", "/llm/nothing", "/llm/static/llm-stream.js"]
    paths += ["/ask", "/ask?prompt=", "/ask?prompt=bug", "/ask?who=abort", "/ask?who=nobody"]
    for path in paths:
        assert is_readable(client.get(path, headers=FROM_FRIEND, buffered=True)), path
    for path in ("/llm/chat", "/ask"):
        assert may_send(preflight(client, path, "POST"), "POST")
    llm.close()


def test_what_the_app_exposes_and_varies_by_is_kept(app: Flask, client: FlaskClient) -> None:
    by_hand(app)
    response = client.get("/ask?prompt=", headers=FROM_FRIEND)
    assert words(response.headers["Access-Control-Expose-Headers"])[0] == "x-of-the-app"
    assert set(words(response.headers["Vary"])) == {"origin", "cookie"}


def test_origins_that_only_the_app_allows_are_its_own_affair(app: Flask, client: FlaskClient) -> None:
    CORS(app, origins=[STRANGER])
    refused = client.get("/llm/chat?prompt=hi", headers={"Origin": STRANGER, "Sec-Fetch-Site": "cross-site"})
    assert (refused.status_code, refused.headers[ALLOW_ORIGIN]) == (403, STRANGER)
    assert CREDENTIALS not in refused.headers


def test_view_under_the_decorator_of_flask_cors_is_answered_once(
    app: Flask, llm: LLMStream, client: FlaskClient, upstream: Upstream
) -> None:
    @app.post("/theirs")
    @cross_origin(origins=[FRIEND], supports_credentials=True)
    def theirs() -> Response:
        return llm.respond(prompt="hi")

    upstream.answer("Hello")
    told = preflight(client, "/theirs", "POST")
    assert (told.headers[ALLOW_ORIGIN], told.headers[CREDENTIALS]) == (FRIEND, "true")
    assert is_readable(client.post("/theirs", headers=FROM_FRIEND, buffered=True))
