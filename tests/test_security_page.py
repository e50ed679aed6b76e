"""docs/explanation/security.md: every test that it names is there and is collected."""

from __future__ import annotations

import re
import subprocess
import sys

from .conftest import ROOT

PAGE = (ROOT / "docs/explanation/security.md").read_text()
ROWS = [row for row in PAGE.splitlines() if row.startswith("| ") and "`test_" in row]
NAMED = sorted(set(re.findall(r"`([\w/]+\.py::\w+)`", PAGE)))


def test_every_threat_names_its_tests() -> None:
    threats = PAGE.partition("## Threats")[2].partition("\n## ")[0]
    rows = [row for row in threats.splitlines() if row.startswith("| ")][1:]
    assert len(rows) == len(ROWS) >= 30
    for row in rows:
        assert len(row.strip("|").split(" | ")) == 3, row
        assert "py::test_" in row.rpartition(" | ")[2], row


def test_every_test_that_is_named_is_collected() -> None:
    files = sorted({f"tests/{name.partition('::')[0]}" for name in NAMED})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert listed.returncode == 0, listed.stdout
    collected = {line.partition("[")[0].removeprefix("tests/") for line in listed.stdout.splitlines()}
    assert not set(NAMED) - collected
