"""Where a local Ray keeps its logs and sockets: a folder a run, which goes when a later run starts."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO


def make_folder() -> tuple[Path, IO[str]]:
    """A locked folder for a local Ray's logs and sockets; those of runs that have ended are deleted.

    They stay until the next run starts, so that they can be looked at; a run that was killed could not delete its own.
    """
    # Not TMPDIR: a socket's path may have 107 bytes, and Ray's own part of it takes 65.
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
    """The lock of a run on its folder, which goes with the process however it ends; None: another process has it."""
    file = (folder / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
