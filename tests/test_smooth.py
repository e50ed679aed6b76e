"""`smooth()`: the same text in whole words."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from collections.abc import Iterator
from itertools import accumulate
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st
from icu4py.breakers import WordBreaker

from llm_stream import ConfigError
from llm_stream import Delta
from llm_stream import Event
from llm_stream import Reasoning
from llm_stream import Refusal
from llm_stream import Reset
from llm_stream import Source
from llm_stream import ToolCall
from llm_stream.testing import Gate
from llm_stream.testing import Upstream
from llm_stream.transforms import LONGEST_WORD
from llm_stream.transforms import smooth

from .conftest import eventually
from .test_generator import llm_of
from .test_transforms import ASK
from .test_transforms import MakeApp

in_words = smooth()

TEXTS = (Delta, Reasoning, Refusal)

anything = st.text(st.characters(codec="utf-8"), min_size=1)
joining = st.text("ab1.,:;'’\"_- \n\r\tאבé\u0301\u00ad\u200d👩🇩🇪…(", min_size=1)
"""What the rules for words are about, where no dictionary is asked."""

texts = st.builds(lambda kind, text: kind(text), st.sampled_from(TEXTS), anything | joining)
others = st.sampled_from([Reset("again"), ToolCall(0, "{"), Source("https://example.com")])


def pieces_of(text: str, size: int = 1) -> list[str]:
    """What readers get of `text`, when it comes in pieces of `size`."""
    given = (Delta(text[at : at + size]) for at in range(0, len(text), size))
    return [event.text for event in in_words(given) if isinstance(event, Delta)]


def joined(events: Iterable[Event]) -> list[Event | tuple[type[Event], str]]:
    """Neighbouring texts of a kind as one, everything else as it is."""
    found: list[Event | tuple[type[Event], str]] = []
    for kind, group in groupby(events, type):
        if issubclass(kind, TEXTS):
            found.append((kind, "".join(getattr(event, "text", "") for event in group)))
        else:
            found += group
    return found


@given(st.lists(texts | others))
def test_nothing_is_lost_added_or_moved(events: list[Event]) -> None:
    assert joined(in_words(iter(events))) == joined(events)


@given(st.lists(joining, min_size=1))
def test_text_is_cut_between_words_only(pieces: list[str]) -> None:
    text = "".join(pieces)
    got = [event.text for event in in_words(map(Delta, pieces)) if isinstance(event, Delta)]
    boundaries = set(accumulate(map(len, WordBreaker(text, "und"))))
    for at in accumulate(map(len, got)):
        assert at in boundaries or text[at - 1].isspace() or at >= LONGEST_WORD


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Don't stop: it's 3.14, or 10,000 km.", "Don't |stop: |it's |3.14, |or |10,000 |km."),
        ("cafe\u0301's Übergrößenträger", "cafe\u0301's |Übergrößenträger"),
        ("one\r\ntwo", "one|\r\n|two"),
        ('צה"ל עברית', 'צה"ל |עברית'),
        ("안녕하세요 세계", "안녕하세요 |세계"),
    ],
)
def test_word_is_passed_on_once_it_is_known_to_be_whole(text: str, pieces: str) -> None:
    assert pieces_of(text) == pieces.split("|")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("我喜欢吃苹果,东京塔很高。", ["喜欢", "东京", "苹果"]),
        ("私は東京タワーに行きました。", ["東京", "タワー", "ました"]),
        ("สวัสดีชาวโลก ฉันชอบกินข้าว", ["ชอบ", "กิน", "ฉัน"]),
    ],
)
def test_language_without_spaces_is_cut_by_a_dictionary(text: str, words: list[str]) -> None:
    for size in (1, 2, 3):
        pieces = pieces_of(text, size)
        assert "".join(pieces) == text
        assert len(pieces) > 3
        for word in words:
            starts = {0, *accumulate(map(len, pieces))}
            at = text.index(word)
            assert not starts & set(range(at + 1, at + len(word))), (word, pieces)


def test_long_word_is_passed_on_as_it_comes() -> None:
    pieces = pieces_of("x" * 1000, 7)
    assert "".join(pieces) == "x" * 1000
    assert max(map(len, pieces)) <= LONGEST_WORD + 7


def test_nothing_is_held_back_before_another_event_or_at_the_end() -> None:
    events = [Delta("wor"), Reset("again"), Delta("wo"), Delta("rd"), Reasoning("hm"), ToolCall(0, "{}"), Delta("x")]
    assert list(in_words(iter(events))) == [
        Delta("wor"), Reset("again"), Delta("word"), Reasoning("hm"), ToolCall(0, "{}"), Delta("x"),
    ]  # fmt: skip


def test_word_is_not_held_once_something_follows(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    llm_of(app).transform(smooth())
    gate = Gate()
    upstream.answer("Hel", "lo ", gate, "you")
    answer = app.test_client().get(ASK, buffered=False)
    body = b""
    pieces: Iterator[bytes] = iter(answer.response)  # type: ignore[arg-type]
    while b'"Hello "' not in body:
        body += next(pieces)
    gate.open()
    assert b'"you"' in b"".join(pieces)
    eventually(lambda: app.extensions["records"])


def test_missing_package_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "icu4py.breakers", None)
    with pytest.raises(ConfigError, match=r"pip install 'flask-llm-stream\[smooth\]'"):
        smooth()


def test_package_is_imported_only_where_it_is_used() -> None:
    program = "import sys, llm_stream.transforms; assert not any(name.startswith('icu4py') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
