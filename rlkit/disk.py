"""Files that survive a kill and a power failure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Writes a file that is at any moment either the old one or the new one, also where the power fails."""
    beside = path.with_name(path.name + ".tmp")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    sync(path.parent)


def sync_tree(folder: Path) -> None:
    """Puts a folder, all that is in it and its name on the disk."""
    for path in (*folder.rglob("*"), folder, folder.parent):
        sync(path)


@contextmanager
def written_beside(place: Path) -> Iterator[Path]:
    """Where to write a folder inside the block; after it, if anything is there, it gets its name (see `place_tree`)."""
    beside = place.with_name(f".{place.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    yield beside
    if beside.exists():
        place_tree(beside, place)


def place_tree(written: Path, place: Path) -> None:
    """Gives a folder that was written beside its place its name, once all of it is on the disk; an older one goes.

    Whatever has the name is whole at any moment; a kill may leave the older one under another that ends in `.tmp`.
    """
    sync_tree(written)
    older = written.with_name(f"{written.name}.older.tmp")
    shutil.rmtree(older, ignore_errors=True)
    if place.exists():
        os.replace(place, older)
    os.replace(written, place)
    sync(place.parent)
    shutil.rmtree(older, ignore_errors=True)


def sync(path: Path) -> None:
    """Puts a file, or the names in a folder, on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
