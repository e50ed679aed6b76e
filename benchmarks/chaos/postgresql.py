"""The run's own PostgreSQL server. PostgreSQL refuses root, so under root it runs as the user of Debian's package."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from .process import Process
from .process import free_port


class PostgreSQL(Process):
    def __init__(self, folder: Path) -> None:
        self._bin = _programs()
        self._user = "postgres" if os.getuid() == 0 else None
        data = folder / "postgresql"
        data.mkdir()
        if self._user:
            for above in (folder, folder.parent):
                above.chmod(0o711)
            shutil.chown(data, self._user)
        port = free_port()
        initdb = [str(self._bin / "initdb"), "-D", str(data / "data"), "-A", "trust", "-U", "postgres", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=data, user=self._user)
        command = [str(self._bin / "postgres"), "-D", str(data / "data"), "-p", str(port), "-h", "127.0.0.1"]
        command += ["-k", str(data), "-c", "fsync=off"]
        super().__init__(command, port, folder / "postgresql.log", data, os.environ, user=self._user)

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        return f"postgresql://postgres@127.0.0.1:{port}/postgres"

    def answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def crash(self) -> None:
        """Stop the server at once; connections break."""
        self.stop(signal.SIGQUIT)

    def limit_files(self, size: int) -> None:
        """Send a signal to all its processes as its user, because root may lack the capability to signal them."""
        for pid in [self.pid, *self.children()]:
            command = ["prlimit", f"--pid={pid}", f"--fsize={size}:"]
            subprocess.run(
                command, user=self._user, stderr=subprocess.DEVNULL, check=False
            )  # some processes end meanwhile


def _programs() -> Path:
    """The programs' folder. Debian installs them outside the PATH, one folder per version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if found:
        return found[-1]
    path = shutil.which("postgres")
    if path is None:
        raise SystemExit("PostgreSQL is missing: apt-get install postgresql")
    return Path(path).resolve().parent
