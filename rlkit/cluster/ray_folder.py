"""The folder for a local Ray's logs and sockets: one for each run, deleted when a later run starts."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO


def make_folder() -> tuple[Path, IO[str]]:
    """Makes and locks a folder for a local Ray's logs and sockets; deletes the folders of runs that have ended.

    A folder remains until a later run starts: the user can read its logs, and a killed run could not delete it.
    """
    # Not TMPDIR: a socket's path is limited to 107 bytes, and Ray's part of it takes 65.
    root = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / f"rlkit-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    with (root / "lock").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        for old in root.iterdir():
            if old.is_dir() and (lock := _lock(old)) is not None:
                lock.close()
                shutil.rmtree(old, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=root, prefix=""))
        lock = _lock(folder)
        assert lock is not None
    return folder, lock


def _lock(folder: Path) -> IO[str] | None:
    """Locks a run's folder; the kernel releases the lock when the process ends. None if another process holds it."""
    file = (folder / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
