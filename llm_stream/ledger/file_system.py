"""The kind of file system that a file is on. SQLite's locks and its shared memory need a local disk."""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/mounts")

OVER_NETWORK = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "beegfs", "gpfs", "davfs",
    "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.ceph", "fuse.rclone", "fuse.blobfuse2",
}  # fmt: skip


def network_file_system_of(path: Path, mounts: Path | None = None) -> str | None:
    """The type of the network file system that `path` is on; None for a local disk, or if it is unknown."""
    try:
        lines = (mounts or MOUNTS).read_text().splitlines()
    except OSError:  # not Linux
        return None
    found, depth = "", -1
    for line in lines:
        _, point, kind, *_ = line.split(" ")
        place = Path(_unescaped(point))
        if path.resolve().is_relative_to(place) and len(place.parts) >= depth:  # a later mount covers an earlier one
            found, depth = kind, len(place.parts)
    return found if found in OVER_NETWORK else None


def _unescaped(point: str) -> str:
    """`/proc/mounts` writes spaces and tabs of a path as `\\040` and `\\011`."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point)
