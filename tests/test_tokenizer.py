"""Either library counts the same; without one the counts are estimates, and say so."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import toktok
from hypothesis import given
from hypothesis import strategies as st

from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.usage import tokenizer
from llm_stream.usage.estimate import most_input_tokens

from .conftest import ROOT
from .conftest import Connection
from .conftest import Server
from .conftest import eventually
from .conftest import missing
from .texts import LANGUAGES
from .texts import ODD

TEXTS = LANGUAGES | ODD | {"README": (ROOT / "README.md").read_text(), "code": Path(__file__).read_text()}


def messages_with(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text.replace("\ud800", "")}]  # JSON has no half of a surrogate pair


COUNTED = [[tokenizer.count(text), most_input_tokens(messages_with(text))] for text in TEXTS.values()]
"""The tokens of each text, and the most that a request with it may have: this process has toktok."""

PROGRAM = """
import json, logging, sys
logging.basicConfig(format="%(message)s", level=logging.INFO)

def offline(event, details):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise ConnectionError("this process is offline")

sys.addaudithook(offline)
from llm_stream.usage import estimate, tokenizer
questions = json.load(sys.stdin)
counts = [[tokenizer.count(text), estimate.most_input_tokens(messages)] for text, messages in questions]
print(json.dumps([tokenizer.serving().name, counts]))
"""


class Libraries:
    """Folders for PYTHONPATH and TIKTOKEN_CACHE_DIR: some libraries cannot be imported, or are other versions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.environment = {"PYTHONPATH": str(folder), "TIKTOKEN_CACHE_DIR": str(folder)}
        self.vocabulary = folder / "fb374d419588a4632f3f557e76b4b70aebbca790"

    def without(self, *names: str) -> Libraries:
        for name in names:
            self.replace(name, f"raise ModuleNotFoundError('No module named {name}')\n")
        return self

    def replace(self, name: str, text: str) -> None:
        (self._folder / f"{name}.py").write_text(text)

    def with_vocabulary(self) -> Libraries:
        """The file that tiktoken downloads, written from toktok's own vocabulary."""
        tokens = toktok._encoding(tokenizer.ENCODING)
        lines = (base64.b64encode(tokens.decode_single_token_bytes(rank)) + b" %d\n" % rank for rank in range(199_998))
        self.vocabulary.write_bytes(b"".join(lines))
        return self

    def count(self) -> tuple[str, list[list[int]], str]:
        """The tokenizer that serves in a new process, its counts of all texts and bounds of requests, and the log."""
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            input=json.dumps([(text, messages_with(text)) for text in TEXTS.values()]),
            env=os.environ | self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        name, counts = json.loads(done.stdout)
        return name, counts, done.stderr


@pytest.fixture
def libraries(tmp_path: Path) -> Libraries:
    return Libraries(tmp_path)


@pytest.fixture
def tiktoken() -> None:
    if find_spec("tiktoken") is None:
        missing("tiktoken is missing: pip install -r requirements/dev.txt")


def test_toktok_serves_when_both_are_installed(libraries: Libraries, tiktoken: None) -> None:
    name, counts, log = libraries.with_vocabulary().count()
    assert (name, log) == ("toktok", "Tokens are counted by toktok.\n")
    assert counts == COUNTED


def test_tiktoken_serves_without_toktok_offline_and_counts_the_same(libraries: Libraries, tiktoken: None) -> None:
    name, counts, log = libraries.without("toktok").with_vocabulary().count()
    assert (name, log) == ("tiktoken", "Tokens are counted by tiktoken.\n")
    assert counts == COUNTED


@pytest.mark.parametrize("content", [None, "damaged"])
def test_tiktoken_is_not_used_if_it_would_download_its_vocabulary(
    libraries: Libraries, tiktoken: None, content: str | None
) -> None:
    if content is not None:
        libraries.vocabulary.write_text(content)
    name, _, log = libraries.without("toktok").count()
    assert name == "the text's length"
    assert "Set TIKTOKEN_CACHE_DIR to a folder that has it." in log
    assert libraries.vocabulary.exists() == (content is not None)


def test_library_that_counts_by_another_call_is_not_used(libraries: Libraries) -> None:
    libraries.without("tiktoken").replace("toktok", "def batch_count(texts): return [0] * len(texts)\n")
    name, _, log = libraries.count()
    assert name == "the text's length"
    assert "toktok is not used, because it raised an error" in log and "TypeError" in log


def test_library_that_counts_wrongly_is_not_used(libraries: Libraries) -> None:
    libraries.without("tiktoken").replace("toktok", "def batch_count(*args, **options): return [7]\n")
    name, _, log = libraries.count()
    assert name == "the text's length"
    assert "toktok is not used: it counts tokens differently" in log


def test_without_a_library_counts_are_estimates_that_say_so_and_never_exceed_the_bound(libraries: Libraries) -> None:
    name, counts, log = libraries.without("toktok", "tiktoken").count()
    assert name == "the text's length"
    assert "Tokens are estimated" in log and "pip install toktok-rs" in log
    for what, (guess, most), (tokens, needed) in zip(TEXTS, counts, COUNTED, strict=True):
        assert guess <= most and needed <= most, what
        if what in LANGUAGES:
            assert 0.8 * tokens < guess < 1.2 * tokens, what


@given(st.text(st.characters(), max_size=200))
def test_bound_from_the_bytes_holds_for_any_text(text: str) -> None:
    known = text.encode(errors="replace").decode()
    assert tokenizer._bytes(known) >= max(tokenizer.count(text), tokenizer._estimate(known))


def test_server_names_its_tokenizer_when_it_starts(serve: Callable[..., Server]) -> None:
    assert serve().log.count("Tokens are counted by toktok.") == 1


def test_server_without_a_tokenizer_estimates_what_a_stopped_answer_cost(
    upstream: Upstream, serve: Callable[..., Server], libraries: Libraries
) -> None:
    server = serve(upstream, disconnect_grace_s=0.2, **libraries.without("toktok", "tiktoken").environment)
    assert server.log.count("pip install toktok-rs") == 1
    record = _left_after(server, upstream, LANGUAGES["English"])
    assert record["source"] == "estimated"
    assert 0.8 < int(record["output_tokens"]) / tokenizer.count(LANGUAGES["English"]) < 1.2


def test_server_with_tiktoken_counts_what_a_stopped_answer_cost(
    upstream: Upstream, serve: Callable[..., Server], libraries: Libraries, tiktoken: None
) -> None:
    environment = libraries.without("toktok").with_vocabulary().environment
    server = serve(upstream, disconnect_grace_s=0.2, **environment)
    assert server.log.count("Tokens are counted by tiktoken.") == 1
    record = _left_after(server, upstream, LANGUAGES["English"])
    assert (record["source"], int(record["output_tokens"])) == ("estimated", tokenizer.count(LANGUAGES["English"]))


def _left_after(server: Server, upstream: Upstream, text: str) -> dict[str, Any]:
    """The record of an answer whose reader left after this text."""
    upstream.answer(text, Stall())
    reader = Connection.get(server.port, "/llm/chat?prompt=hi")
    reader.read_until("event: delta")
    reader.close()
    records: list[dict[str, Any]] = eventually(server.records, "the record")
    return records[0]
