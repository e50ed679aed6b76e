"""The page on the Python API has every public name."""

from __future__ import annotations

import re
from types import FunctionType
from types import ModuleType

import pytest
from flask import Blueprint

import llm_stream
import llm_stream.testing
import llm_stream.transforms
import llm_stream.worker
from llm_stream import LLMStream

from ..pages import page

PAGE = "docs/reference/api.md"
RUNS: dict[str, list[str]] = {}
INTERNAL = {"admit", "defaults", "follow", "open", "resume", "source_of", "structured", "usage_scope"}
"""Methods for the library's own modules."""

DOCUMENTED = re.findall(r"^\.\. (?:auto\w+|py:\w+):: ([\w.]+)", page(PAGE).text, re.MULTILINE)


@pytest.mark.parametrize("module", [llm_stream, llm_stream.testing], ids=lambda module: module.__name__)
def test_every_public_name_of_a_module_is_there(module: ModuleType) -> None:
    names = {f"{module.__name__}.{name}" for name in module.__all__}
    assert names <= set(DOCUMENTED)


def test_functions_of_the_other_modules_are_there() -> None:
    for module in (llm_stream.transforms, llm_stream.worker):
        own = {name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
        public = {f"{module.__name__}.{name}" for name in own if not name.startswith("_")}
        assert public <= set(DOCUMENTED)


def test_every_method_of_the_blueprint_is_there() -> None:
    ours = [kind for kind in LLMStream.__mro__ if kind.__module__.startswith("llm_stream.")]
    methods = {name for kind in ours for name, value in vars(kind).items() if isinstance(value, FunctionType)}
    public = {name for name in methods - set(dir(Blueprint)) - INTERNAL if not name.startswith("_")}
    assert {f"llm_stream.LLMStream.{name}" for name in public} == {
        name for name in DOCUMENTED if name.startswith("llm_stream.LLMStream.")
    }
