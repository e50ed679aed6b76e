"""The types of llm-stream.js, for those who have a compiler."""

from __future__ import annotations

import re
import subprocess

from ..conftest import ROOT
from ..node import node
from ..node import node_folder

STATIC = ROOT / "llm_stream" / "static"
OPTIONS = ["--strict", "--noEmit", "--allowJs", "--checkJs", "--noUnusedLocals", "--pretty", "false"]
OPTIONS += ["--target", "es2024", "--lib", "es2024,dom,dom.iterable,dom.asynciterable"]
OPTIONS += ["--module", "esnext", "--moduleResolution", "bundler"]


def test_types_hold_in_the_module_and_in_a_page() -> None:
    compiler = node_folder("types", ["typescript@5.9.3"]) / "node_modules" / "typescript" / "lib" / "tsc.js"
    files = [STATIC / "llm-stream.js", ROOT / "tests" / "clients" / "consumer.ts"]
    told = subprocess.run([node(), compiler, *OPTIONS, *files], capture_output=True, text=True, timeout=60)
    assert (told.stdout, told.returncode) == ("", 0)


def test_types_name_what_the_module_exports() -> None:
    named = re.findall(r"^export declare (?:class|function) (\w+)", (STATIC / "llm-stream.d.ts").read_text(), re.M)
    module = (STATIC / "llm-stream.js").read_text()
    exported = re.findall(r"^export (?:async )?(?:class|function\*?) (\w+)", module, re.M)
    assert sorted(named) == sorted(exported)
