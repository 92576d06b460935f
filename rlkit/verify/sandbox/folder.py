"""Work folders of jobs on an ordinary file system: measured while a job runs, removed after it."""

from __future__ import annotations

import itertools
import math
import os

_MAX_DEPTH = 64
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def count_files(folder: str, most: int) -> int:
    """Files and folders below `folder`, counted to a little above `most`; nested deeper than 64 counts as above it.

    The owner may change the folder meanwhile; what is gone by then is left out.
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
        # Without the right to be read, or deeper than a path is long: what cannot be counted is too much.
        return [], most + 1


def disk_bytes(folder: str) -> float:
    """Bytes that the files below a folder have on disk, infinite where they may not be asked.

    Nobody changes it meanwhile, and `count_files` found it small.
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

    Nobody changes it meanwhile: its job has ended. One descriptor at a time: down into the first folder found, up when
    all is removed.
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
