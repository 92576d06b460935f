"""What happens in a folder and below it, from the kernel (inotify), within microseconds and without looking for it."""

from __future__ import annotations

import ctypes
import os
import select
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MODIFY, _MOVED_TO, _CREATE, _DELETE, _ONLYDIR, _ISDIR = 0x2, 0x80, 0x100, 0x200, 0x1000000, 0x40000000
_NAMES = {_MODIFY: "written", _MOVED_TO: "renamed", _CREATE: "created", _DELETE: "deleted"}
_HEADER = struct.Struct("iIII")


@dataclass(frozen=True)
class Happened:
    """One change."""

    what: str
    """written, renamed (to this name), created or deleted."""
    path: str
    """Below the watched folder."""

    def __str__(self) -> str:
        return f"{self.what} {self.path}"


class Notify:
    """Watches a folder that exists, with everything below it, also what is made later."""

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._fd >= 0, os.strerror(ctypes.get_errno())
        self._folder = folder
        self._paths: dict[int, str] = {}
        self._missed = list(self._watch(""))[:0]  # what is there already has not happened now

    def close(self) -> None:
        """Gives the descriptor back."""
        os.close(self._fd)

    def wait(self, timeout_s: float) -> list[Happened]:
        """What has happened since the last call, after waiting so long at most for the first of it."""
        if not select.select([self._fd], [], [], timeout_s)[0]:
            return []
        data, found, at = os.read(self._fd, 65536), list[Happened](), 0
        while at < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, at)
            at += _HEADER.size
            name = data[at : at + length].rstrip(b"\0").decode()
            at += length
            found += self._read(watch, mask, name)
        return found

    def _read(self, watch: int, mask: int, name: str) -> Iterator[Happened]:
        if watch not in self._paths or not name:
            return
        path = f"{self._paths[watch]}/{name}".removeprefix("/")
        yield from (Happened(what, path) for bit, what in _NAMES.items() if mask & bit)
        if mask & _ISDIR and mask & (_CREATE | _MOVED_TO):
            yield from self._watch(path)

    def _watch(self, path: str) -> Iterator[Happened]:
        """Adds a folder; what was made in it before the kernel watched counts as created."""
        mask = _MODIFY | _MOVED_TO | _CREATE | _DELETE | _ONLYDIR
        watch = self._libc.inotify_add_watch(self._fd, os.fsencode(self._folder / path), mask)
        if watch < 0:
            return  # gone again
        self._paths[watch] = path
        try:
            entries = list(os.scandir(self._folder / path))
        except OSError:
            return
        for entry in entries:
            below = f"{path}/{entry.name}".removeprefix("/")
            yield Happened("created", below)
            if entry.is_dir(follow_symlinks=False):
                yield from self._watch(below)
