"""Atomic writes: files and folders that stay complete after a kill or a power failure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file atomically: a reader sees either the old or the new content, also after a power failure."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync(path.parent)


def sync_tree(folder: Path) -> None:
    """Flushes a folder, everything in it and its directory entry to disk (fsync)."""
    for path in (*folder.rglob("*"), folder, folder.parent):
        sync(path)


@contextmanager
def replaced_atomically(target: Path) -> Iterator[Path]:
    """Yields a temporary folder to write to. After the block it replaces `target` atomically, if it exists."""
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    yield temporary
    if temporary.exists():
        replace_folder(temporary, target)


def replace_folder(temporary: Path, target: Path) -> None:
    """Flushes a temporary folder to disk, renames it to `target` and deletes the folder that had this name.

    The folder named `target` is complete at any moment. A kill may leave the old one under a name that ends in `.tmp`.
    """
    sync_tree(temporary)
    older = temporary.with_name(f"{temporary.name}.older.tmp")
    shutil.rmtree(older, ignore_errors=True)
    if target.exists():
        os.replace(target, older)
    os.replace(temporary, target)
    sync(target.parent)
    shutil.rmtree(older, ignore_errors=True)


def sync(path: Path) -> None:
    """Flushes a file, or a folder's directory entries, to disk (fsync)."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
