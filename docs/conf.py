"""How Sphinx builds the documentation: `make docs`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from pathlib import PurePosixPath

from pygments.lexers import TextLexer
from sphinx.highlighting import lexers

sys.path.insert(0, str(Path(__file__).parent.parent))

import llm_stream

project = "flask-llm-stream"
version = release = llm_stream.__version__
copyright = "the authors of flask-llm-stream"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]
nitpicky = False

# MyST: the pages are Markdown that reads well without Sphinx, too
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# the docstrings have single backticks, as Markdown has them
default_role = "code"
autodoc_typehints = "signature"
maximum_signature_line_length = 80
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = f"flask-llm-stream {version}"
html_theme_options = {"navigation_with_keys": True}
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True

# Pygments does not know these
lexers["haproxy"] = lexers["redis"] = TextLexer()

LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)\s]+)\)")


def without_links_to_the_repository(app: object, docname: str, source: list[str]) -> None:
    """The site has only the pages. A link to another file of the repository becomes the file's path."""
    depth = len(PurePosixPath(docname).parts)

    def replaced(link: re.Match[str]) -> str:
        text, target = link[1], link[2]
        ups = target.count("../")
        if ups < depth:
            return link[0]
        path = target.removeprefix("../" * ups)
        return text if path in text else f"{text} (`{path}`)"

    source[0] = LINK.sub(replaced, source[0])


PICTURE = re.compile(
    r"<picture>\s*<source [^>]*\bsrcset=\"(?P<dark>[^\"]+)\">\s*"
    r"<img alt=\"(?P<alt>[^\"]*)\" src=\"(?P<light>[^\"]+)\">\s*</picture>"
)


def with_both_themes(app: object, docname: str, source: list[str]) -> None:
    """GitHub reads `<picture>`. The site has a switch for the theme, so it shows one of two images."""

    def images(found: re.Match[str]) -> str:
        return "\n".join(
            f"```{{image}} {found[theme]}\n:alt: {found['alt']}\n:class: only-{theme}\n```\n"
            for theme in ("light", "dark")
        )

    source[0] = PICTURE.sub(images, source[0])


def with_plurals(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """In reStructuredText, a letter behind `code` needs a separator, which our docstrings do not have."""
    lines[:] = [re.sub(r"(?<!`)(`[^`]+`)(?=\w)", r"\1\\ ", line) for line in lines]


def setup(app: object) -> None:
    app.connect("source-read", with_both_themes)  # type: ignore[attr-defined]
    app.connect("source-read", without_links_to_the_repository)  # type: ignore[attr-defined]
    app.connect("autodoc-process-docstring", with_plurals)  # type: ignore[attr-defined]
