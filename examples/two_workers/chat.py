"""The chat page in Chromium, as a reader sees it, and the servers that it is connected to."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from cluster import Cluster
from cluster import require
from process import CannotStart
from process import Process

try:
    from playwright.sync_api import Page
    from playwright.sync_api import Response
    from playwright.sync_api import expect
    from playwright.sync_api import sync_playwright
except ImportError as error:
    raise CannotStart(f"--show needs {error.name}: pip install playwright") from error

PATIENCE_MS = 30_000
POLL_MS = 20
NAMES = ("chromium", "chromium-browser", "google-chrome")

NOTE_STATES = """
window.states = [];
new MutationObserver((changes) => changes.forEach(({ target }) => states.push(target.dataset.state)))
    .observe(document, { subtree: true, attributeFilter: ["data-state"] });
"""
"""Records every state, because a state may be too short for polling the page."""


@contextmanager
def chromium() -> Iterator[Page]:
    """Raises `CannotStart`."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    require(path, "chromium", "apt-get install chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser.new_page(viewport={"width": 800, "height": 820})
        browser.close()


class Chat:
    def __init__(self, page: Page, cluster: Cluster) -> None:
        self._page = page
        self._cluster = cluster
        self._turn = page.locator(".turn").last
        self.writer: Process | None = None
        """The server that received the latest question."""
        self.connected: Process | None = None
        """The server that the page reads the answer from."""
        page.on("response", self._note_server)
        page.add_init_script(NOTE_STATES)
        page.goto(cluster.url)

    # What the reader does

    def ask(self, question: str) -> None:
        self._begin()
        self._page.get_by_label("Message").fill(question)
        self._page.keyboard.press("Enter")

    def stop(self) -> None:
        self._page.keyboard.press("Escape")
        self.wait_for("cancelled")

    def try_again(self) -> None:
        self._begin()
        self._turn.get_by_role("button", name="Try again").click()

    def _begin(self) -> None:
        self.writer = self.connected = None
        self._page.evaluate("states.length = 0")

    # What the reader sees

    def tokens(self) -> int:
        """The number of tokens that the page shows. The model's tokens t0, t1, t2, … must appear once and in order."""
        shown = self._turn.locator(".answer").inner_text().split()
        assert shown == [f"t{number}" for number in range(len(shown))], shown
        return len(shown)

    def foot(self) -> str:
        """The line below the answer."""
        return " · ".join(self._turn.locator(".state span").all_inner_texts())

    def wait_for_token(self, number: int) -> None:
        expect(self._turn.locator(".answer")).to_contain_text(re.compile(rf"\bt{number}\b"))

    def wait_for(self, state: str) -> None:
        """Wait until the latest turn has reached this state at any time since its question."""
        until = monotonic() + PATIENCE_MS / 1000
        while state not in self._page.evaluate("states"):
            assert monotonic() < until, f"the page did not get into the state {state}: {self.foot()}"
            self._page.wait_for_timeout(POLL_MS)

    def screenshot(self, path: Path) -> None:
        self._page.screenshot(path=path)

    def _note_server(self, response: Response) -> None:
        if "/llm/streams" not in response.url or not response.ok:
            return
        server = self._cluster.server_at(response.headers["x-server"].split(", ")[-1])
        if response.request.method == "POST":
            self.writer = server
        else:
            self.connected = server
