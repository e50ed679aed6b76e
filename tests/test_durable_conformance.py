"""The conformance tests of Durable Streams, as they are published, read our streams.

`docs/reference/durable_streams.md` lists them. To write the list again:
`UPDATE_DOCS=1 pytest tests/test_durable_conformance.py`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT
from .durable_shim import Shim
from .node import node
from .node import node_folder

PACKAGES = ["@durable-streams/server-conformance-tests@0.3.6", "vitest@4.1.12"]
PAGE = ROOT / "docs" / "reference" / "durable_streams.md"
BEGIN, END = "<!-- cases -->", "<!-- end of cases -->"
RUN_S = 300

SUITE = """
import { runConformanceTests } from "@durable-streams/server-conformance-tests";
runConformanceTests({ baseUrl: process.env.SHIM_URL, longPollTimeoutMs: 2000 });
"""

PROPERTIES = "Property-Based Tests (fast-check)"
CLOSURE = "Stream Closure"

WRITING = "about writing"
LIFETIME = "about the lifetime that a client sets"
NOT_JSON = "about text or binary messages in an event stream, where ours are JSON"

SKIPPED: dict[str, dict[str, list[str] | None]] = {
    WRITING: {
        "Basic Stream Operations": None,
        "Append Operations": None,
        "HTTP Protocol": [
            "should return correct headers on PUT",
            "should return 200 on idempotent PUT with same config",
            "should return 409 on PUT with different config",
            "should return correct headers on POST",
            "should return 404 on POST to non-existent stream",
            "should return 409 on content-type mismatch",
            "should return 404 on DELETE non-existent stream",
            "should return 204 on successful DELETE",
            "should enforce sequence ordering",
            'should enforce lexicographic seq ordering ("2" then "10" rejects)',
            'should allow lexicographic seq ordering ("09" then "10" succeeds)',
            "should reject duplicate seq values",
        ],
        "Browser Security Headers": [
            "should include X-Content-Type-Options: nosniff on PUT responses",
            "should include X-Content-Type-Options: nosniff on POST responses",
        ],
        "Case-Insensitivity": None,
        "Content-Type Validation": None,
        "Protocol Edge Cases": [
            "should reject empty POST body with 400",
            "should handle PUT with initial body correctly",
            "should enforce case-sensitive seq ordering",
            "should return Location header on 201",
            "should reject missing Content-Type on POST",
            "should accept PUT without Content-Type (use default)",
        ],
        "JSON Mode": [
            "should allow PUT with empty array body (creates empty stream)",
            "should reject POST with empty array body",
            "should reject invalid JSON with 400",
            "should reject empty JSON arrays with 400",
        ],
        f"{PROPERTIES} > Sequence Ordering Properties": None,
        f"{PROPERTIES} > Concurrent Writer Stress Tests": [
            "concurrent writers with sequence numbers - server handles gracefully",
            "concurrent writers racing with incrementing seq values",
        ],
        "Idempotent Producer Operations": None,
        f"{CLOSURE} > Create with Stream-Closed": None,
        f"{CLOSURE} > Close Operations": None,
        f"{CLOSURE} > Idempotent Producers with Stream Closure": None,
        f"{CLOSURE} > Edge Cases": [
            "409-includes-stream-offset: 409 for closed stream includes Stream-Next-Offset header",
            "close-nonexistent-stream-404: POST with Stream-Closed to nonexistent stream returns 404",
            "producer-state-survives-close: Stale-epoch producer gets 403, not 409 STREAM_CLOSED",
            "close-with-different-body-dedup: Retry close with different body deduplicates to original",
            "empty-post-without-stream-closed-400: POST with empty body but no Stream-Closed returns 400",
            "delete-closed-stream: Deleting a closed stream removes it (returns 404 after)",
        ],
        **dict.fromkeys(
            f"Fork - {name}"
            for name in (
                "Creation", "Reading", "Appending", "Recursive", "Live Modes", "Deletion and Lifecycle",
                "TTL and Expiry", "JSON Mode", "Edge Cases",
            )
        ),
        "Reserved subscription APIs": None,
    },
    LIFETIME: {
        "TTL and Expiry Validation": None,
        "TTL and Expiry Edge Cases": None,
        "TTL Expiration Behavior": None,
        "HEAD Metadata Edge Cases": None,
    },
    NOT_JSON: {
        "SSE Mode": [
            "base64 SSE catch-up pairs every data event with a control event",
            "should handle newlines in text/plain payloads",
            "should prevent CRLF injection in payloads - embedded event boundaries become literal data",
            "should prevent CRLF injection - LF-only attack vectors",
            "should prevent CRLF injection - carriage return only attack vectors",
            "should auto-detect binary streams and return base64 encoded data in SSE mode",
            "should include Stream-SSE-Data-Encoding header for binary streams",
            "should NOT include Stream-SSE-Data-Encoding header for text/plain streams",
            "should base64 encode data events only, control events remain JSON",
            "should handle empty binary payload with auto-detected base64 encoding",
            "should handle large binary payload with auto-detected base64 encoding",
            "should handle binary data with special bytes using auto-detected base64 encoding",
            "should auto-detect base64 encoding for application/x-protobuf streams",
            "should auto-detect base64 encoding for image/png streams",
            "should handle offset=now with auto-detected base64 encoding for binary streams",
        ],
    },
}  # fmt: skip
"""By reason and group: the cases, or None for all of the group."""

Case = tuple[str, str]
"""Its group and its title."""


@pytest.fixture(scope="module")
def shim() -> Iterator[Shim]:
    shim = Shim()
    yield shim
    shim.close()


@pytest.fixture(scope="module")
def results(shim: Shim, tmp_path_factory: pytest.TempPathFactory) -> dict[Case, dict[str, Any]]:
    """What vitest says of each case."""
    folder = tmp_path_factory.mktemp("conformance")
    (folder / "node_modules").symlink_to(node_folder("durable-conformance", PACKAGES) / "node_modules")
    (folder / "cases.test.mjs").write_text(SUITE)
    options = ["run", "--root", str(folder), "--reporter=json", "--outputFile=results.json", "-t", wanted()]
    subprocess.run(
        [str(node()), str(folder / "node_modules" / "vitest" / "vitest.mjs"), *options],
        cwd=folder,
        env=os.environ | {"SHIM_URL": shim.url},
        capture_output=True,
        timeout=RUN_S,
    )
    (file,) = json.loads((folder / "results.json").read_text())["testResults"]
    assert file["assertionResults"], file
    return {(" > ".join(case["ancestorTitles"]), case["title"]): case for case in file["assertionResults"]}


def wanted() -> str:
    """A pattern for the names that vitest gives to cases."""
    unwanted = []
    for group, titles in (entry for groups in SKIPPED.values() for entry in groups.items()):
        name = re.escape(group.replace(" > ", " "))
        unwanted += [f"{name} "] if titles is None else [f"{name} {re.escape(title)}$" for title in titles]
    return f"^(?!{'|'.join(unwanted)})"


def reason_of(case: Case) -> str | None:
    """Why it is skipped; None if it is not."""
    group, title = case
    for reason, groups in SKIPPED.items():
        if group in groups and ((titles := groups[group]) is None or title in titles):
            return reason
    return None


def table(cases: list[Case]) -> str:
    """Groups that are skipped as a whole have one row."""
    rows = ["| group | case | |", "|---|---|---|"]
    for group in dict.fromkeys(group for group, _ in cases):
        titles = [title for other, title in cases if other == group]
        reasons = {reason_of((group, title)) for title in titles}
        if None not in reasons:
            rows.append(f"| {group} | all {len(titles)} | skipped: {reasons.pop()} |")
            continue
        for title in titles:
            reason = reason_of((group, title))
            rows.append(f"| {group} | {title} | {f'skipped: {reason}' if reason else 'passes'} |")
    return "\n".join(rows)


def summary(cases: list[Case]) -> str:
    reasons = [reason_of(case) for case in cases]
    counted = ", ".join(f"{reasons.count(reason)} {reason}" for reason in SKIPPED)
    return f"Of {len(cases)} cases, {reasons.count(None)} run and pass. Skipped are {counted}."


def test_every_case_about_reading_passes(results: dict[Case, dict[str, Any]]) -> None:
    ran = {case: result for case, result in results.items() if reason_of(case) is None}
    problems = {case: result["failureMessages"] for case, result in ran.items() if result["status"] != "passed"}
    assert ran and not problems


def test_only_cases_with_a_reason_are_skipped(results: dict[Case, dict[str, Any]]) -> None:
    known = {
        (group, title) for groups in SKIPPED.values() for group, titles in groups.items() for title in titles or ()
    }
    assert known <= set(results), "a skipped case does not exist"
    for case, result in results.items():
        assert (result["status"] == "skipped") == (reason_of(case) is not None), case


def test_page_lists_every_case(results: dict[Case, dict[str, Any]]) -> None:
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    listed, _, after = rest.partition(END)
    expected = f"\n{summary(list(results))}\n\n{table(list(results))}\n"
    if os.environ.get("UPDATE_DOCS"):
        Path(PAGE).write_text(f"{before}{BEGIN}{expected}{END}{after}")
    else:
        assert listed == expected
