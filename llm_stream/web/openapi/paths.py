"""Translates Flask's rules into OpenAPI paths and parameters."""

from __future__ import annotations

import re
from typing import Any

VARIABLE = re.compile(r"<(?:(?P<converter>[a-zA-Z_]\w*)(?:\([^>]*\))?:)?(?P<name>[a-zA-Z_]\w*)>")
"""https://werkzeug.palletsprojects.com/en/stable/routing/#rule-format"""

TYPES: dict[str, dict[str, Any]] = {
    "int": {"type": "integer", "minimum": 0},
    "float": {"type": "number", "minimum": 0},
    "uuid": {"type": "string", "format": "uuid"},
}


def path_of(rule: str) -> str:
    return VARIABLE.sub(r"{\g<name>}", rule)


def parameters_of(rule: str) -> list[dict[str, Any]]:
    return [
        {"name": found["name"], "in": "path", "required": True, "schema": _schema(found["converter"])}
        for found in VARIABLE.finditer(rule)
    ]


def _schema(converter: str | None) -> dict[str, Any]:
    return TYPES.get(converter or "", {"type": "string", "minLength": 1})
