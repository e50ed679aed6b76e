"""The ranges in pyproject.toml are what is tested: their lower ends, and the pinned versions."""

from __future__ import annotations

import re
import runpy
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
RANGES = dict(requirement.split(">=") for group in GROUPS for requirement in group)


def pins(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def version(text: str) -> tuple[int, ...]:
    """2.2 and 2.2.0 are the same."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    return tuple(numbers + [0] * (4 - len(numbers)))


def test_lowest_versions_that_are_tested_are_those_that_are_allowed() -> None:
    tested = pins("requirements/lowest.txt")
    assert {name: version(tested[name]) for name in RANGES} == {name: version(low) for name, low in RANGES.items()}


def test_pinned_versions_are_within_the_ranges() -> None:
    pinned = pins("requirements.txt")
    assert all(version(pinned[name]) >= version(RANGES[name]) for name in pinned)


def test_everything_that_the_tests_need_is_pinned_and_in_the_group() -> None:
    pinned = {name.partition("[")[0] for name in pins("requirements/dev.txt")}
    group = {name.partition("[")[0] for name in PROJECT["dependency-groups"]["dev"]}
    assert group <= pinned
    assert pinned - group <= {"icu4py", "pytest-xdist"}  # of an extra; only the Makefile asks for it


VULNERABLE = {"id": "PYSEC-2026-1", "fix_versions": ["3.1.4"]}


@pytest.mark.parametrize(
    ("packages", "status", "said"),
    [
        ([{"name": "flask", "skip_reason": "not found"}], 0, "skipped"),
        ([{"name": "flask", "version": "3.1.3", "vulns": []}], 0, "1 of 1 packages were looked up"),
        (
            [{"name": "flask", "version": "3.1.3", "vulns": []}, {"name": "x", "skip_reason": "not found"}],
            0,
            "not looked up: x",
        ),
        (
            [{"name": "flask", "version": "3.1.3", "vulns": [VULNERABLE]}],
            1,
            "flask 3.1.3: PYSEC-2026-1, fixed in 3.1.4",
        ),
    ],
)
def test_audit_fails_only_for_a_vulnerability_and_says_what_it_could_not_look_up(
    packages: list[dict[str, Any]], status: int, said: str
) -> None:
    verdict_on: Callable[..., tuple[int, list[str]]] = runpy.run_path(str(ROOT / ".ci/audit.py"))["verdict_on"]
    found, lines = verdict_on(packages)
    assert found == status
    assert said in "\n".join(lines)
