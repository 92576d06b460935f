"""Work folders of jobs on an ordinary file system: measured while a job runs, removed afterwards."""

from __future__ import annotations

import itertools
import math
import os

_MAX_DEPTH = 64
"""Folders inside of each other that are counted."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def count_files(folder: str, most: int) -> int:
    """Files and folders below `folder`, counted to a little above `most`; nested deeper than 64 counts as above it.

    The job may change the folder meanwhile; entries that are gone by then are left out.
    """
    total, queue = 0, [(folder, 0)]
    while queue and total <= most:
        path, depth = queue.pop()
        if depth > _MAX_DEPTH:
            return most + 1
        folders, count = _entries(path, most)
        total += count
        queue += [(inner, depth + 1) for inner in folders]
    return total


def _entries(path: str, most: int) -> tuple[list[str], int]:
    """The folders in a folder, and the number of all entries, which stops above `most`."""
    try:
        with os.scandir(path) as entries:
            found = list(itertools.islice(entries, most + 1))
        return [entry.path for entry in found if entry.is_dir(follow_symlinks=False)], len(found)
    except (FileNotFoundError, NotADirectoryError):
        return [], 0
    except OSError:
        # It cannot be read, or its path is too long: a folder that cannot be counted counts as too many files.
        return [], most + 1


def disk_bytes(folder: str) -> float:
    """Bytes that the files below a folder take on disk; infinite where that cannot be known.

    Call it after the job has ended, and after `count_files` has found the folder small.
    """
    files = ((name, parent) for _, _, names, parent in os.fwalk(folder) for name in names)
    try:
        stats = (os.stat(name, dir_fd=parent, follow_symlinks=False) for name, parent in files)
        by_file = {(stat.st_dev, stat.st_ino): stat for stat in stats}
    except PermissionError:
        return math.inf
    # A file may be long without blocks, and XFS gives growing ones more blocks than they need.
    return sum(min(stat.st_size, 512 * stat.st_blocks) for stat in by_file.values())


def bytes_written(pid: int) -> int:
    """Bytes that a process and its threads have passed to write calls so far.

    Raises:
        OSError: the process has ended, or this kernel does not count.
    """
    with open(f"/proc/{pid}/io") as f:
        return int(dict(line.split(":", 1) for line in f)["wchar"])


def remove_folder(folder: str) -> None:
    """Removes a folder and all below it: also folders nested deeper than a path may be long, and ones without rights.

    Call it after the job has ended. It holds one descriptor at a time: goes down into the first folder that it finds,
    and up again when that is empty.
    """
    os.chmod(folder, 0o700)
    current = os.open(folder, _FOLDER)
    names: list[str] = []
    left = [_empty(current)]
    while left:
        if left[-1]:
            inner = left[-1].pop()
            os.chmod(inner, 0o700, dir_fd=current)
            following = os.open(inner, _FOLDER, dir_fd=current)
            names.append(inner)
            left.append(_empty(following))
        else:
            left.pop()
            if not left:
                break
            following = os.open("..", _FOLDER, dir_fd=current)
            os.rmdir(names.pop(), dir_fd=following)
        os.close(current)
        current = following
    os.close(current)
    os.rmdir(folder)


def _empty(current: int) -> list[str]:
    """Removes what is not a folder, and empty folders; returns the names of folders that are not empty."""
    full = []
    for name in os.listdir(current):
        try:
            os.unlink(name, dir_fd=current)
        except IsADirectoryError:
            try:
                os.rmdir(name, dir_fd=current)
            except OSError:
                full.append(name)
    return full
