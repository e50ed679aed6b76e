"""Finds tools that observe OpenAI's client by replacing its methods. Streams rarely call these methods, or never."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from types import FunctionType
from typing import Any

SDK = "openai"

WATCHED = (
    ("openai.resources.chat.completions", "Completions", "create"),
    ("openai.resources.responses", "Responses", "create"),
    ("openai", "OpenAI", "request"),
)
"""A tool that replaces such a method has imported its module, so this module does not import it."""

WRAPPER_OF_WRAPT = "_self_wrapper"


def observers() -> list[str]:
    """The names of the modules whose functions have replaced methods of the SDK, without duplicates."""
    return list(dict.fromkeys(_module_of(method) for method in _methods() if not _is_of_sdk(method)))


def _methods() -> Iterator[Any]:
    for module, owner, name in WATCHED:
        found = getattr(sys.modules.get(module), owner, None)
        method = inspect.getattr_static(found, name, None)
        if method is not None:
            yield method


def _is_of_sdk(method: Any) -> bool:
    """Whether the SDK defines the method. `functools.wraps` copies the name and the module, but not the globals.
    wrapt's proxies deceive `isinstance`.
    """
    return type(method) is FunctionType and _top(method.__globals__.get("__name__")) == SDK


def _module_of(method: Any) -> str:
    wrapper = getattr(method, WRAPPER_OF_WRAPT, method)
    if type(wrapper) is FunctionType:
        return str(wrapper.__globals__.get("__name__"))
    return str(type(wrapper).__module__)


def _top(module: object) -> str:
    return str(module).partition(".")[0]
