"""Pictures and PDFs in the questions of the demo's chat page."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from playwright.sync_api import Page
from playwright.sync_api import expect

from .conftest import Server
from .routed import Routed
from .test_chat_page import ask
from .test_chat_page import is_over

pytestmark = pytest.mark.browser

PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAUEBAAAACwAAAAAAQABAAACAkQBADs=")
PICTURE: Any = {"name": "sky.gif", "mimeType": "image/gif", "buffer": PIXEL}
DOCUMENT: Any = {"name": "notes.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7"}

GIVE = """([type, name, mimeType, base64]) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name, { type: mimeType }));
    const field = document.getElementById("prompt");
    const event = type === "paste"
        ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
        : new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true });
    field.dispatchEvent(event);
    return event.defaultPrevented;
}"""

PHOTO = """async () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 2400, height: 1200 });
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(2400, 1200);
    for (let at = 0; at < pixels.data.length; at += 65536)
        crypto.getRandomValues(pixels.data.subarray(at, Math.min(at + 65536, pixels.data.length)));
    for (let at = 0; at < pixels.data.length; at++) if (at % 4 === 3 || at % 64 > 7) pixels.data[at] = 255;
    context.putImageData(pixels, 0, 0);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    const data = new DataTransfer();
    data.items.add(new File([blob], "photo.png", { type: "image/png" }));
    const event = new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
    document.getElementById("prompt").dispatchEvent(event);
    return blob.size;
}"""
"""Pastes a picture that is much larger than a request may be."""


@pytest.fixture
def chat(page: Page, site: Server) -> Page:
    page.goto(site.url)
    return page


@pytest.fixture
def server(chat: Page) -> Routed:
    return Routed(chat)


def attach(page: Page, *files: Any) -> None:
    before = page.locator("#attachments li").count()
    page.set_input_files("#picker", files=list(files))
    expect(page.locator("#attachments li")).to_have_count(before + len(files))


def give(page: Page, kind: str, file: dict[str, Any]) -> bool:
    content = base64.b64encode(file["buffer"]).decode()
    taken: bool = page.evaluate(GIVE, [kind, file["name"], file["mimeType"], content])
    return taken


def test_pictures_and_documents_are_sent_with_the_question(chat: Page, server: Routed) -> None:
    server.say("Blue.")
    attach(chat, PICTURE, DOCUMENT)
    turn = ask(chat, "Which colour is it?")
    is_over(turn)
    assert server.asked[0]["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Which colour is it?"},
                {
                    "type": "image_url",
                    "image_url": {"url": f"data:image/gif;base64,{base64.b64encode(PIXEL).decode()}"},
                },
                {
                    "type": "file",
                    "file": {
                        "filename": "notes.pdf",
                        "file_data": f"data:application/pdf;base64,{base64.b64encode(b'%PDF-1.7').decode()}",
                    },
                },
            ],
        }
    ]
    expect(chat.locator("#attachments li")).to_have_count(0)
    expect(turn.get_by_role("img", name="sky.gif")).to_be_visible()
    expect(turn.get_by_role("list", name="Files of the question")).to_contain_text("notes.pdf")


def test_a_picture_alone_is_a_question(chat: Page, server: Routed) -> None:
    server.say("A pixel.")
    attach(chat, PICTURE)
    chat.get_by_role("button", name="Send").click()
    is_over(chat.locator(".turn"))
    assert [part["type"] for part in server.asked[0]["messages"][0]["content"]] == ["image_url"]
    expect(chat.locator("#conversations .open")).to_have_text("sky.gif")


def test_the_button_opens_the_choice_of_files(chat: Page) -> None:
    with chat.expect_file_chooser() as choosing:
        chat.get_by_role("button", name="Add pictures or PDFs").click()
    assert choosing.value.is_multiple()


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_files_are_taken_however_they_come(chat: Page, kind: str) -> None:
    assert give(chat, kind, PICTURE)
    expect(chat.locator("#attachments li")).to_have_count(1)
    expect(chat.get_by_role("button", name="Remove sky.gif")).to_be_visible()


def test_the_page_shows_where_files_can_be_dropped(chat: Page) -> None:
    assert give(chat, "dragover", PICTURE)
    assert chat.locator("body.dropping").count() == 1
    give(chat, "drop", PICTURE)
    assert chat.locator("body.dropping").count() == 0


def test_a_file_can_be_removed_by_keyboard(chat: Page, server: Routed) -> None:
    server.say("Hello.")
    attach(chat, PICTURE, DOCUMENT)
    chat.get_by_role("button", name="Remove sky.gif").focus()
    chat.keyboard.press("Enter")
    expect(chat.locator("#attachments li")).to_have_count(1)
    expect(chat.get_by_label("Message")).to_be_focused()
    chat.get_by_role("button", name="Remove notes.pdf").click()
    expect(chat.get_by_role("list", name="Files", exact=True)).to_be_hidden()
    is_over(ask(chat, "Hello?"))
    assert server.asked[0]["messages"] == [{"role": "user", "content": "Hello?"}]


def test_other_files_are_refused_in_plain_words(chat: Page) -> None:
    archive: Any = {"name": "a.zip", "mimeType": "application/zip", "buffer": b"PK"}
    chat.set_input_files("#picker", files=[archive])
    expect(chat.locator("#note")).to_have_text("a.zip is not a picture (PNG, JPEG, GIF, WebP) or a PDF.")
    expect(chat.locator("#attachments li")).to_have_count(0)


def test_a_document_that_is_larger_than_a_request_is_refused_in_plain_words(chat: Page) -> None:
    large: Any = {"name": "book.pdf", "mimeType": "application/pdf", "buffer": b"%PDF" + bytes(700_000)}
    chat.set_input_files("#picker", files=[large])
    expect(chat.locator("#note")).to_contain_text("book.pdf is too large: the files of a question may have 0.6 MB")
    expect(chat.locator("#attachments li")).to_have_count(0)


def test_a_picture_that_is_larger_than_a_request_is_made_smaller(chat: Page, server: Routed) -> None:
    server.say("Noise.")
    assert chat.evaluate(PHOTO) > 1_048_576
    expect(chat.locator("#attachments li")).to_have_count(1)
    is_over(ask(chat, "What is it?"))
    url = server.asked[0]["messages"][0]["content"][1]["image_url"]["url"]
    assert url.startswith("data:image/jpeg;base64,")
    size = "url => createImageBitmap(document.querySelector('.question-files img')).then(({ width }) => width)"
    assert chat.evaluate(size, url) == 1568


def test_the_next_question_has_the_picture_again(chat: Page, server: Routed) -> None:
    server.say("Blue.")
    server.say("Yes.")
    attach(chat, PICTURE)
    is_over(ask(chat, "Which colour is it?"))
    is_over(ask(chat, "Really?"))
    first, _, last = server.asked[1]["messages"]
    assert [part["type"] for part in first["content"]] == ["text", "image_url"]
    assert last == {"role": "user", "content": "Really?"}


def test_pictures_are_not_kept_in_the_browser_and_the_page_says_so(chat: Page, server: Routed) -> None:
    server.say("Blue.")
    server.say("Yes.")
    attach(chat, PICTURE)
    is_over(ask(chat, "Which colour is it?"))
    chat.reload()
    expect(chat.locator(".question-files")).to_have_text("sky.gif (not kept in this browser)")
    is_over(ask(chat, "Really?"))
    parts = server.asked[1]["messages"][0]["content"]
    assert parts[1] == {"type": "text", "text": "(The file sky.gif is no longer there.)"}


def test_pictures_of_old_questions_are_left_out_where_a_request_would_be_too_large(chat: Page, server: Routed) -> None:
    large: Any = {"name": "notes.pdf", "mimeType": "application/pdf", "buffer": b"%PDF" + bytes(450_000)}
    for number in range(3):
        server.say(f"Answer {number}.")
        attach(chat, large if number < 2 else PICTURE)
        is_over(ask(chat, f"Question {number}?"))
    kinds = [
        [part["type"] for part in message["content"]]
        for message in server.asked[2]["messages"]
        if message["role"] == "user"
    ]
    assert kinds == [["text", "text"], ["text", "file"], ["text", "image_url"]]


def test_what_the_provider_says_about_a_file_is_shown(chat: Page) -> None:
    """Whether a model takes files is not known before it is asked."""
    refusal = '{"error": {"code": "upstream_refused", "message": "The model takes no files.", "retryable": false}}'
    chat.route("**/llm/streams", lambda route: route.fulfill(status=400, body=refusal))
    attach(chat, PICTURE)
    turn = ask(chat)
    is_over(turn, "failed")
    expect(turn.locator(".state")).to_have_text("The model takes no files.")
