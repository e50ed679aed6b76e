"""The pages on providers: tests/test_provider_docs.py configures an app with the lines of each page."""

from __future__ import annotations

from ..conftest import ROOT

FOLDER = ROOT / "docs/guides/providers"
RUNS = {f"docs/guides/providers/{path.name}": ["bash"] for path in FOLDER.glob("*.md") if path.stem != "index"}
