"""The time of day that a server sees: the preloaded tests/clock.c adds the shift that a file contains."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent.parent.parent / "tests/clock.c"


def compiled(folder: Path) -> Path | None:
    """The library's path; None without a compiler, and then clocks do not jump."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    shim = folder / "clock.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(shim), str(SOURCE)], check=True)
    return shim


class Clock:
    def __init__(self, shim: Path, file: Path) -> None:
        self._file = file
        self.set(0)
        self.settings = {"LD_PRELOAD": str(shim), "CLOCK_SHIFT_FILE": str(file)}

    def set(self, shift_s: int) -> None:
        """Shift the clock at once in all processes of the server."""
        if not self._file.exists():
            self._file.write_bytes(bytes(8))
        with self._file.open("r+b") as file:  # processes have mapped the file, so change it in place
            file.write(struct.pack("q", shift_s))
