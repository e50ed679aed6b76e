"""Reads the gunicorn settings that streams depend on, and finds modules that were imported too early for gevent.

A configuration file is a program that may import, patch and print anything. So a separate process reads the
configuration: it runs this file as a script. Hence this module imports nothing from the package.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

HOOKS = ("post_worker_init", "worker_int", "worker_exit")
OURS = "llm_stream"
READ_S = 30.0
DEPTH = 3
"""How many calls deep to search a configured hook for a call of ours."""

NO_GUNICORN = 3
NO_FILE = 4
"""Exit statuses of the script."""

PATCHED = (
    ("ssl", "SSLContext"),
    ("socket", "socket"),
    ("socket", "create_connection"),
    ("time", "sleep"),
    ("threading", "Lock"),
    ("threading", "Event"),
    ("threading", "local"),
)
"""Names that gevent replaces and that modules import. A module that was imported before keeps the original object."""


class Unreadable(Exception):
    """The configuration cannot be read. The message is the reason."""


@dataclass(frozen=True)
class GunicornConfig:
    """The settings that streams depend on, under gunicorn's names."""

    worker_class: str
    threads: int
    workers: int
    reuse_port: bool
    preload_app: bool
    worker_connections: int
    graceful_timeout: int
    timeout: int
    max_requests: int
    addresses: tuple[str, ...]
    """The hosts that gunicorn listens on; for Unix sockets, the paths."""
    missing_hooks: tuple[str, ...]
    """Hooks of the configuration that do not call the hook of the same name in `llm_stream.worker`."""
    imported_early: tuple[str, ...]
    """Modules that hold an original that gevent replaces."""

    @property
    def is_gevent(self) -> bool:
        return "gevent" in self.worker_class.lower()

    @property
    def has_one_process(self) -> bool:
        return self.workers <= 1 and not self.reuse_port

    @property
    def is_local(self) -> bool:
        """Whether gunicorn listens on loopback addresses only. Then no proxy is expected in front."""
        return all(map(_is_loopback, self.addresses))

    @classmethod
    def of(cls, cfg: Any, imported_early: tuple[str, ...]) -> GunicornConfig:
        """Converts gunicorn's own configuration object."""
        return cls(
            worker_class=cfg.worker_class_str,
            threads=cfg.threads,
            workers=cfg.workers,
            reuse_port=bool(cfg.reuse_port),
            preload_app=cfg.preload_app,
            worker_connections=cfg.worker_connections,
            graceful_timeout=cfg.graceful_timeout,
            timeout=cfg.timeout,
            max_requests=cfg.max_requests,
            addresses=tuple(str(each[0]) if isinstance(each, tuple) else str(each) for each in cfg.address),
            missing_hooks=tuple(name for name in HOOKS if not _calls_ours(getattr(cfg, name), name)),
            imported_early=imported_early,
        )


def read(path: str | None) -> GunicornConfig:
    """The configuration that gunicorn would use, from the file, GUNICORN_CMD_ARGS and WEB_CONCURRENCY.

    `path` is the file; None: gunicorn's default file.

    Raises `Unreadable`.
    """
    # -P: modules in this folder have the names of libraries
    command = [sys.executable, "-P", __file__, *([path] if path else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=READ_S)
    except subprocess.TimeoutExpired:
        raise Unreadable(f"reading gunicorn's configuration took more than {READ_S:.0f} s; simplify it") from None
    if done.returncode == NO_GUNICORN:
        raise Unreadable("gunicorn is not installed: pip install gunicorn")
    if done.returncode == NO_FILE:
        raise Unreadable("there is no gunicorn.conf.py here, and GUNICORN_CMD_ARGS is not set: pass --gunicorn-config")
    lines = (done.stderr if done.returncode else done.stdout).strip().splitlines()
    if done.returncode:
        raise Unreadable(f"gunicorn cannot read its configuration: {lines[-1] if lines else done.returncode}")
    values: dict[str, Any] = json.loads(lines[-1])
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return GunicornConfig(**(values | lists))


def imported_early() -> tuple[str, ...]:
    """The modules that were imported before gevent patched the standard library, and that hold a replaced original.

    Without gevent, or before gevent has patched: the modules that already hold such an original. Modules of Python,
    gevent and gunicorn are left out, because they still work.
    """
    monkey = sys.modules.get("gevent.monkey")
    get_original = getattr(monkey, "get_original", None)
    originals = {}
    for module, name in PATCHED:
        if module in sys.modules:
            now = getattr(sys.modules[module], name)
            originals[name] = get_original(module, name) if get_original else now
    own = sys.stdlib_module_names | {"gevent", "gunicorn", "greenlet", "__main__"}
    return tuple(
        sorted(
            name
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] not in own and _has_one_of(getattr(module, "__dict__", {}), originals)
        )
    )


def _has_one_of(names: dict[str, Any], originals: dict[str, Any]) -> bool:
    return any(names.get(name) is original for name, original in originals.items())


def _calls_ours(function: Any, hook: str, depth: int = DEPTH) -> bool:
    """Whether a hook is ours, mentions ours, or calls a function that mentions ours."""
    if (getattr(function, "__module__", None) or "").partition(".")[0] == OURS:
        return True
    names = getattr(getattr(function, "__code__", None), "co_names", ())
    if hook in names or any(name.partition(".")[0] == OURS for name in names):
        return True
    called = (function.__globals__.get(name) for name in names)
    return depth > 0 and any(_calls_ours(each, hook, depth - 1) for each in called if hasattr(each, "__code__"))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _main(path: str | None) -> int:
    try:
        from gunicorn.app.base import Application
        from gunicorn.config import get_default_config_file
    except ImportError:
        return NO_GUNICORN

    class Reading(Application):  # type: ignore[misc]
        def init(self, *_: Any) -> None:
            """No application is loaded."""

    sys.argv = ["gunicorn", *(["--config", path] if path else [])]
    if path is None and get_default_config_file() is None and not os.environ.get("GUNICORN_CMD_ARGS"):
        return NO_FILE
    cfg = Reading().cfg
    print(f"\n{json.dumps(asdict(GunicornConfig.of(cfg, imported_early())))}")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1] if len(sys.argv) > 1 else None))
