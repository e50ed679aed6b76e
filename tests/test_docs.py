"""The documentation: every block runs, every link leads somewhere, every table is what the code says."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from llm_stream.settings import PREFIX
from llm_stream.settings import Settings

from . import docs
from .conftest import ROOT
from .conftest import missing
from .pages import Page
from .pages import every_page

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)|<img [^>]*src=\"([^\"]+)\"|srcset=\"([^\"]+)\"")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)

PAGES = every_page()
SHOWN = {"text", "{toctree}", "{eval-rst}"}
"""Languages of blocks that are not code."""


def anchors(page: Page) -> set[str]:
    """Those that GitHub and MyST make of headings."""
    found = set()
    for heading in HEADING.findall(FENCED.sub("", page.text)):
        words = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(words.strip().replace(" ", "-"))
    return found


def test_every_block_of_code_is_run_by_a_test() -> None:
    """A test module says in `RUNS` which languages of which pages it runs."""
    claimed: set[tuple[str, str]] = set()
    for path in sorted(Path(docs.__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"tests.docs.{path.stem}")
        claimed |= {(name, language) for name, languages in module.RUNS.items() for language in languages}
    blocks = {(str(page), block.language): block.line for page in PAGES for block in page.blocks}
    not_run = [f"{page}:{line} {language}" for (page, language), line in blocks.items() if language not in SHOWN]
    not_run = [place for place in not_run if (place.partition(":")[0], place.split()[-1]) not in claimed]
    assert not not_run
    assert not claimed - blocks.keys(), "RUNS names blocks that are gone"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_what_is_there(page: Page) -> None:
    text = FENCED.sub("", page.text)
    targets = [*LINK.findall(text), *filter(None, sum(PICTURE.findall(text), ()))]
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        other = (page.path.parent / path).resolve() if path else page.path
        assert other.exists(), target
        if anchor and other.suffix == ".md":
            assert anchor in anchors(Page(other)), target


def test_settings_that_pages_name_exist() -> None:
    known = {f"{PREFIX}{field.name.upper()}" for field in fields(Settings)}
    named = {(str(page), name) for page in PAGES for name in re.findall(r"LLM_STREAM_[A-Z_]+[A-Z]", page.text)}
    known.add("LLM_STREAM_PORT")  # Kubernetes sets it for a Service named llm-stream, as the page warns
    known.add("LLM_STREAM_HEARTBEATS")  # troubleshooting.md shows what a mistyped name leads to
    assert not {(page, name) for page, name in named if name not in known}


def test_tables_of_settings_and_errors_are_those_of_the_code() -> None:
    program = f"import sys, json; sys.path.insert(0, {str(ROOT / 'docs')!r}); import generate; " + (
        "print(json.dumps({str(path): text for path, text in generate.pages().items()}))"
    )
    made = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    for path, text in json.loads(made).items():
        assert Path(path).read_text() == text, "run: python docs/generate.py"


def test_site_is_built_without_a_warning(tmp_path: Path) -> None:
    sphinx = ROOT / ".venv-docs/bin/sphinx-build"
    if not sphinx.exists():
        missing("Sphinx is missing: make .venv-docs/ready")
    command = [str(sphinx), "-W", "--keep-going", "-q", "-b", "html", str(ROOT / "docs"), str(tmp_path)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "index.html").exists()
