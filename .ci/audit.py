"""Looks up known vulnerabilities of the installed packages: `audit.py ENVIRONMENT...`. Exits with 1 if there are any.

pip-audit gets them from PyPI. A mirror may have the packages without this data. pip-audit then succeeds without a
look-up, and this script reports that.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def main() -> int:
    reports = [audited(Path(name)) for name in sys.argv[1:]]
    if None in reports:
        print("-- audit: skipped, because PyPI does not respond")
        return 0
    status, lines = verdict_on([package for report in reports for package in report or ()])
    print("\n".join(lines))
    return status


def audited(environment: Path) -> list[dict[str, Any]] | None:
    """pip-audit's report on each package. None: pip-audit could not reach PyPI and has no report."""
    (packages,) = environment.glob("lib/python*/site-packages")
    command = [str(Path(sys.executable).parent / "pip-audit"), "-s", "pypi", "-f", "json", "--progress-spinner", "off"]
    done = subprocess.run([*command, "--path", str(packages)], capture_output=True, text=True)
    if not done.stdout.startswith("{"):
        print(done.stderr.strip().rpartition("\n")[2], file=sys.stderr)
        return None
    found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    return found


def verdict_on(packages: list[dict[str, Any]]) -> tuple[int, list[str]]:
    """The exit status and what to print."""
    known = [package for package in packages if "vulns" in package]
    if not known:
        return 0, [f"-- audit: skipped, because the registry has no data about any of {len(packages)} packages"]
    lines = [f"audit: {len(known)} of {len(packages)} packages were looked up"]
    lines += [f"not looked up: {package['name']}" for package in packages if "vulns" not in package]
    affected = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in {versions_of(vulnerability)}"
        for package in known
        for vulnerability in package["vulns"]
    ]
    return int(bool(affected)), lines + affected


def versions_of(vulnerability: dict[str, Any]) -> str:
    return ", ".join(vulnerability.get("fix_versions", ())) or "no version yet"


if __name__ == "__main__":
    sys.exit(main())
