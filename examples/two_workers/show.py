"""Kills servers while they write and send an answer, and prints the page's text."""

from __future__ import annotations

import csv
from pathlib import Path
from time import monotonic
from urllib.request import urlopen

from chat import Chat
from chat import chromium
from cluster import TOKENS
from cluster import Cluster
from cluster import wait_for_answer
from process import Process

MIDWAY = 40
"""Kill a server once the page shows this token."""

COLUMNS = ("status", "source", "output_tokens", "cost")


def show(cluster: Cluster, screenshot: Path | None) -> None:
    """Raises `CannotStart`, and `AssertionError` if the page does not show what it should."""
    with chromium() as page:
        cluster.start()
        Show(cluster, Chat(page, cluster)).run(screenshot)


class Show:
    """Prints the seconds since the latest question before each line."""

    def __init__(self, cluster: Cluster, chat: Chat) -> None:
        self._cluster = cluster
        self._chat = chat
        self._asked_at = monotonic()

    def run(self, screenshot: Path | None) -> None:
        print("1. The server that the page is connected to dies. The other server writes the answer.", flush=True)
        killed = self._lose_the_connection()
        killed.start()
        wait_for_answer(killed)
        self._say(f"{killed} is started again")
        print("\n2. The server that writes the answer dies. The page is connected to the other server.", flush=True)
        killed = self._lose_the_writer()
        if screenshot:
            self._chat.screenshot(screenshot)
        self._try_again()
        print("\n3. The ledger has one row for each question.", flush=True)
        self._print_the_ledger(self._cluster.other_than(killed))

    def _lose_the_connection(self) -> Process:
        """Return the server that was killed."""
        chat = self._chat
        _, connected = self._ask()
        self._kill(connected)
        chat.wait_for("reconnecting")
        shown = chat.tokens()
        self._say(f"the page shows t0 … t{shown - 1} and says: Connection lost. Reconnecting…")
        chat.wait_for_token(shown)
        self._say(f"the page is connected to {chat.connected} and goes on with t{shown}")
        chat.wait_for("completed")
        assert chat.tokens() == TOKENS, chat.tokens()
        self._say(f"the answer is complete: t0 … t{TOKENS - 1}, each token once and in order")
        return connected

    def _lose_the_writer(self) -> Process:
        """Return the server that was killed."""
        chat = self._chat
        writer, _ = self._ask()
        self._kill(writer)
        self._say(f"the page shows t0 … t{chat.tokens() - 1}")
        chat.wait_for("interrupted")
        self._say(f"the page shows t0 … t{chat.tokens() - 1} and says: {chat.foot()}")
        return writer

    def _try_again(self) -> None:
        self._chat.try_again()
        self._say("the reader presses “Try again”")
        self._chat.wait_for("completed")
        assert self._chat.tokens() == TOKENS, self._chat.tokens()
        self._say(f"{self._chat.connected} has sent the whole answer: t0 … t{TOKENS - 1}")

    def _print_the_ledger(self, server: Process) -> None:
        with urlopen(f"http://{server.address}/llm/usage.csv") as answer:
            rows = list(csv.DictReader(answer.read().decode().splitlines()))
        for row in rows:
            print("  " + " · ".join(f"{name} {row[name]}" for name in COLUMNS))

    def _ask(self) -> tuple[Process, Process]:
        """Ask until one server writes and the page is connected to the other one. Return both."""
        while True:
            self._asked_at = monotonic()
            self._chat.ask("Count to two hundred.")
            self._chat.wait_for_token(MIDWAY)
            writer, connected = self._chat.writer, self._chat.connected
            assert writer and connected
            if writer is not connected:
                self._say(f"{writer} writes the answer, and the page is connected to {connected}")
                return writer, connected
            self._chat.stop()

    def _kill(self, server: Process) -> None:
        server.kill()
        self._say(f"{server} and its worker are killed (SIGKILL)")

    def _say(self, what: str) -> None:
        print(f"{monotonic() - self._asked_at:6.1f} s  {what}", flush=True)
