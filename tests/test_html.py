"""The HTML wire: what a page shows that appends each fragment, and what a template of the app's makes of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Iterable
from html.parser import HTMLParser

import pytest
from flask import Flask
from flask import Response
from flask import g
from flask import request
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import DictLoader
from jinja2 import TemplateNotFound

from llm_stream import Delta
from llm_stream import Done
from llm_stream import Event
from llm_stream import Failure
from llm_stream import Reasoning
from llm_stream import Refusal
from llm_stream import Reset
from llm_stream import Source
from llm_stream import ToolCall
from llm_stream import Usage
from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Upstream
from llm_stream.wire.html import HtmlWire
from llm_stream.wire.sse import LINE_END

from .conftest import GUNICORN
from .conftest import Connection
from .conftest import Server
from .sequences import STREAM_ID
from .sequences import batches
from .sequences import splits
from .sequences import well_formed_sequences
from .sequences import written
from .test_generator import llm_of
from .test_wires import parse

MakeApp = Callable[..., Flask]
Serve = Callable[..., Server]

CLASS = f"llm-{STREAM_ID}"


class Page(HTMLParser):
    """Appends each fragment, as htmx does: an out-of-band deletion removes what has its class, and is not shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[tuple[str, str | None, str]] = []
        """The tag, the class and the text of each element."""
        self._open: tuple[str, str | None] | None = None
        self._deletes = False

    def swap(self, fragment: str) -> None:
        self.feed(fragment)
        self.close()
        assert self._open is None

    @property
    def text(self) -> str:
        return "".join(text for _, _, text in self.shown)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert self._open is None, "fragments are flat"
        given = dict(attrs)
        self._deletes = "hx-swap-oob" in given
        if self._deletes:
            target = (given["hx-swap-oob"] or "").removeprefix("delete:.")
            self.shown = [element for element in self.shown if element[1] != target]
        else:
            self.shown.append((tag, given.get("class"), ""))
        self._open = (tag, given.get("class"))

    def handle_data(self, data: str) -> None:
        assert self._open is not None, "all text is in an element"
        if not self._deletes:
            tag, css_class, text = self.shown[-1]
            self.shown[-1] = (tag, css_class, text + data)

    def handle_endtag(self, tag: str) -> None:
        assert self._open is not None and self._open[0] == tag
        self._open = None


def show(page: Page, messages: Iterable[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """Swap the messages in; return the id and the data of each `done`."""
    ends = []
    for event_id, name, data in messages:
        if name == "message":
            page.swap(data)
        else:
            assert name == "done"
            ends.append((event_id, data))
    return ends


def expected_of(events: Iterable[Event]) -> str:
    """The text that a reader shall see."""
    text = ""
    for event in events:
        if isinstance(event, Reset):
            text = ""
        elif isinstance(event, (Delta, Refusal)):
            text += event.text
    return LINE_END.sub("\n", text)


@given(st.data(), well_formed_sequences(resets=True))
def test_page_shows_the_answer_and_nothing_else(data: st.DataObject, events: list[Event]) -> None:
    body = written(HtmlWire(), data.draw(batches(events)))
    page = Page()
    ((end, status),) = show(page, parse(b"".join(data.draw(splits(body))).decode()))
    failures = [event.message for event in events if isinstance(event, Failure)]
    alerts = [text for tag, _, text in page.shown if tag == "p"]
    assert alerts == [LINE_END.sub("\n", message) for message in failures]
    assert page.text == expected_of(events) + "".join(alerts)
    assert {css_class for _, css_class, _ in page.shown} <= {CLASS}
    done = events[-1]
    assert isinstance(done, Done)
    assert (end, status) == (f"{STREAM_ID}-{len(events)}", done.status)


@given(st.data(), well_formed_sequences(resets=True))
def test_reader_that_resumes_or_begins_again_sees_the_same(data: st.DataObject, events: list[Event]) -> None:
    whole = Page()
    show(whole, parse(written(HtmlWire(), data.draw(batches(events))).decode()))
    page = Page()
    seen = data.draw(st.integers(1, len(events)))
    received = parse(written(HtmlWire(), [events[:1], events[1:seen]]).decode())
    show(page, received)
    wire, after = HtmlWire(), int(received[-1][0].rpartition("-")[2]) if received else 0
    if data.draw(st.booleans()) or not after:
        body = wire.opening() + wire.encode(STREAM_ID, 1, events)
    else:
        wire.resume(events[after - 1])
        body = wire.opening() + wire.encode(STREAM_ID, after + 1, events[after:])
    show(page, parse(body.decode()))
    assert page.text == whole.text


def test_reset_tells_a_client_that_is_not_htmx() -> None:
    body = HtmlWire().encode("s", 1, [Delta("Hel"), Reset("upstream_cut"), Delta("Hello")]).decode()
    assert [data for _, _, data in parse(body)] == [
        '<span class="llm-s">Hel</span>',
        '<span hx-swap-oob="delete:.llm-s">[The answer starts again.]</span>',
        '<span class="llm-s">Hello</span>',
    ]


def test_what_is_not_text_is_left_out_without_a_template() -> None:
    events = [Reasoning("hm"), ToolCall(0, "{}", "c", "look"), Source("https://example.com"), Usage()]
    assert HtmlWire().encode("s", 2, events) == b""


# Over HTTP…


def test_html_is_a_format_of_every_route_that_has_formats(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    client = app.test_client()
    upstream.answer("<b>", "&amp;")
    first = client.get("/llm/chat?prompt=hi&format=html")
    assert first.mimetype == "text/event-stream"
    body = first.get_data(as_text=True)
    stream_id = first.headers["x-llm-stream-id"]
    assert re.sub(r"id: .*\n", "", body) == (
        "retry: 1000\n"
        f'data: <span class="llm-{stream_id}"></span>\n\n'
        f'data: <span hx-swap-oob="delete:.llm-{stream_id}"></span>\n\n'
        f'data: <span class="llm-{stream_id}">&lt;b&gt;</span>\n\n'
        f'data: <span class="llm-{stream_id}">&amp;amp;</span>\n\n'
        "event: done\ndata: completed\n\n"
    )
    again = client.get(f"/llm/streams/{stream_id}?format=html&after=2").get_data(as_text=True)
    assert [data for _, _, data in parse(again)] == [data for _, _, data in parse(body)][-2:]


def test_html_is_resumed_after_the_last_event_that_the_reader_has(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, disconnect_grace_s=20)
    gate = Gate()
    upstream.answer("one\r", gate, "\ntwo")
    path = "/llm/chat?prompt=hi&format=html"
    seen = Connection.get(server.port, path).read_until("one\ndata: </span>\n\n")
    last = seen.rpartition("id: ")[2].partition("\n")[0]
    gate.open()
    rest = parse(server.get(path, **{"Last-Event-ID": last}).text)
    css_class = f"llm-{last.rpartition('-')[0]}"
    assert [data for _, _, data in rest] == [f'<span class="{css_class}">two</span>', "completed"]
    assert server.get(path, **{"Last-Event-ID": rest[-1][0]}).status_code == 204


# With a template…

TEMPLATES = {
    "piece.html": "{% if event.type == 'delta' %}<b class='{{ css_class }}'>{{ text }}</b>"
    "{% elif event.type == 'failure' %}<hr>{{ text }}"
    "{% elif event.type == 'reasoning' %}<i>{{ event.text }}</i>"
    "{% elif event.type == 'tool_call' and event.name %}<u>{{ event.name }}</u>{% endif %}",
    "piece.txt": "{{ text }}",
    "context.html": "{{ request.args.name }} {{ g.name }} {{ ours }} {{ url_for('view', of=text) }}\n",
    "broken.html": "{{ 1 / 0 if text == 'b' else text }}",
}


def with_templates(app: Flask, **options: object) -> Flask:
    app.jinja_loader = DictLoader(TEMPLATES)

    @app.get("/view")
    def view() -> Response:
        g.name = "ann"
        given = options or {"template": request.args["template"]}
        return llm_of(app).respond(prompt="hi", format="html", **given)  # type: ignore[arg-type]

    return app


def fragments(body: str) -> list[str]:
    """Those of the answer, without the two that clear its place."""
    return [data for _, name, data in parse(body) if name == "message"][2:]


def test_template_renders_content_and_failure(make_app: MakeApp, upstream: Upstream) -> None:
    app = with_templates(make_app())
    call = {"index": 0, "id": "c1", "function": {"name": "look<", "arguments": "{}"}}
    upstream.answer(
        {"choices": [{"index": 0, "delta": {"reasoning": "<hm>"}}]},
        "a & b\r",
        "\nc",
        {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]},
        Cut(),
    )
    answer = app.test_client().get("/view?template=piece.html")
    css_class = f"llm-{answer.headers['x-llm-stream-id']}"
    assert fragments(answer.get_data(as_text=True)) == [
        "<i>&lt;hm&gt;</i>",
        f"<b class='{css_class}'>a &amp; b\n</b>",
        f"<b class='{css_class}'>c</b>",
        "<u>look&lt;</u>",
        "<hr>The answer broke off. Please try again.",
    ]


def test_text_is_escaped_in_a_template_that_jinja_does_not_escape(make_app: MakeApp, upstream: Upstream) -> None:
    app = with_templates(make_app())
    upstream.answer("<script>")
    body = app.test_client().get("/view?template=piece.txt").get_data(as_text=True)
    assert fragments(body) == ["&lt;script&gt;"]


def test_template_sees_what_the_apps_templates_see(make_app: MakeApp, upstream: Upstream) -> None:
    app = with_templates(make_app())
    calls: list[str] = []

    @app.context_processor
    def ours() -> dict[str, str]:
        calls.append("once")
        return {"ours": "extra"}

    upstream.answer("1", "2")
    body = app.test_client().get("/view?template=context.html&name=x").get_data(as_text=True)
    assert fragments(body) == ["x ann extra /view?of=1", "x ann extra /view?of=2"]
    assert calls == ["once"]


def test_template_that_is_not_there_buys_nothing(make_app: MakeApp, upstream: Upstream) -> None:
    app = with_templates(make_app())
    app.testing = True
    with pytest.raises(TemplateNotFound):
        app.test_client().get("/view?template=none.html")
    assert not upstream.requests


def test_template_needs_the_format(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    with app.test_request_context("/"), pytest.raises(ValueError, match="format='html'"):
        llm_of(app).respond(prompt="hi", template="piece.html")
    assert not upstream.requests


def test_template_is_used_under_the_server_that_passes_tokens_on(upstream: Upstream, serve: Serve) -> None:
    """Pieces are rendered by the producer's greenlet, or in the event loop, each in the context of its own reader."""
    server = serve(upstream, command=[*GUNICORN[:-1], "tests.templated:app"])
    gates = [Gate() for _ in range(3)]
    upstream.answer("a", gates[0], "b", gates[1], "c", gates[2], "d")
    readers = [Connection.get(server.port, f"/view?key=k&name={name}") for name in ("ann", "bob")]
    for letter, gate in zip("abc", gates, strict=True):
        for name, reader in zip(("ann", "bob"), readers, strict=True):
            reader.read_until(f"{name}: {letter}")
        gate.open()
    for name, reader in zip(("ann", "bob"), readers, strict=True):
        assert re.findall(r"<p>(.+?)</p>", reader.read_to_end()) == [f"{name}: {letter}" for letter in "abcd"]
    assert len(upstream.requests) == 1
