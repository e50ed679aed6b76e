"""What a configuration of gunicorn says, as far as streams depend on it; and what was imported too early for gevent.

The configuration is read in a process of its own, which runs this file as a script: a configuration file is a program
that may import, patch and print anything. So this module imports nothing of the package.
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
"""How many calls deep a hook of ours is looked for."""

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
"""What gevent replaces, and what modules import by name. A module that was imported before keeps the original."""


class Unreadable(Exception):
    """The configuration cannot be read: the reason."""


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
    """The hosts that it listens at; of Unix sockets the paths."""
    missing_hooks: tuple[str, ...]
    """Those that do not call ours."""
    imported_early: tuple[str, ...]
    """Modules that have what gevent replaces, as it was before."""

    @property
    def is_gevent(self) -> bool:
        return "gevent" in self.worker_class.lower()

    @property
    def has_one_process(self) -> bool:
        return self.workers <= 1 and not self.reuse_port

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it, and no proxy is expected in front."""
        return all(map(_is_loopback, self.addresses))

    @classmethod
    def of(cls, cfg: Any, imported_early: tuple[str, ...]) -> GunicornConfig:
        """From gunicorn's own object, in a worker or while reading."""
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
    """What gunicorn would read here: the file (default: the one it finds), GUNICORN_CMD_ARGS, WEB_CONCURRENCY.

    Raises `Unreadable`.
    """
    # -P: the modules beside this one are named like libraries
    command = [sys.executable, "-P", __file__, *([path] if path else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=READ_S)
    except subprocess.TimeoutExpired:
        raise Unreadable(f"reading gunicorn's configuration took more than {READ_S:.0f} s") from None
    if done.returncode == NO_GUNICORN:
        raise Unreadable("gunicorn is not installed here")
    if done.returncode == NO_FILE:
        raise Unreadable("there is no gunicorn.conf.py here, and GUNICORN_CMD_ARGS is not set; --gunicorn-config")
    lines = (done.stderr if done.returncode else done.stdout).strip().splitlines()
    if done.returncode:
        raise Unreadable(f"gunicorn cannot read its configuration: {lines[-1] if lines else done.returncode}")
    values: dict[str, Any] = json.loads(lines[-1])
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return GunicornConfig(**(values | lists))


def imported_early() -> tuple[str, ...]:
    """The modules that were imported before gevent patched the standard library, and use what it has replaced.

    Without gevent, or before it has patched, those that would be. What belongs to Python, gevent and gunicorn copes.
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
    """Whether a hook is ours, or names ours, or calls a function that does."""
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
