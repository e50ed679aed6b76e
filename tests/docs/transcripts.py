"""Shell transcripts of the pages: each command runs, and prints what the page shows.

Ids, times and the headers that the page leaves out may differ. An id that an earlier output showed is the real one in
later commands.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Iterator

from ..pages import Page

ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{20}(?![0-9a-f])")
TIMES = re.compile(r'("(?:created|created_at|completed_at|timestamp|streamCursor|error_id)": ?)("\w+"|\d+)')

Run = Callable[[str], str]


def exchanges(page: Page, holding: str = "") -> Iterator[tuple[str, str]]:
    """Each command of the page's transcripts, with the output that the page shows."""
    for block in page.blocks:
        if block.language != "console" or holding not in block.text:
            continue
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            lines = part.splitlines(keepends=True)
            length = next(at for at, line in enumerate(lines, 1) if not line.endswith("\\\n"))
            yield "".join(lines[:length]).strip(), "".join(lines[length:]).strip()


def check(page: Page, run: Run, holding: str = "") -> None:
    real: dict[str, str] = {}

    def with_real_ids(text: str) -> str:
        return ID.sub(lambda found: real.get(found[0], found[0]), text)

    for command, shown in exchanges(page, holding):
        printed = run(with_real_ids(command)).replace("\r\n", "\n").strip()
        real.update(zip(ID.findall(shown), ID.findall(printed), strict=False))
        shown, printed = (TIMES.sub(r"\1…", text) for text in (with_real_ids(shown), printed))
        if shown.startswith("HTTP/"):
            (head, _, shown), (real_head, _, printed) = shown.partition("\n\n"), printed.partition("\n\n")
            assert set(head.splitlines()) <= set(real_head.splitlines()), command
        assert printed == shown, command
