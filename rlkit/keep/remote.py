"""The folder of a mirror on any file system that fsspec supports."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rlkit.errors import MirrorError, UsageError, did_you_mean

WHOLE_WRITES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "memory")
"""Object stores, whose writes are atomic. On other file systems a file is written under another name and renamed."""
PART = ".part"
"""Suffix of a file that is being written."""


def check_url(url: str) -> None:
    """Checks that fsspec supports the file system of a URL and that its package is installed. Makes no connection.

    Raises:
        UsageError: The file system is unknown or its package missing.
    """
    from fsspec.registry import known_implementations, registry

    protocol = url.partition("://")[0]
    if protocol in registry:
        return
    if protocol not in known_implementations:
        raise UsageError(
            f"run.mirror={url}: fsspec does not support {protocol!r}{did_you_mean(protocol, known_implementations)}"
        )
    package = known_implementations[protocol]["class"].partition(".")[0]
    if find_spec(package) is None:
        raise UsageError(f"run.mirror={url} needs the package {package}, which is not installed: pip install {package}")


class RemoteFolder:
    """The files below a URL, by their names relative to it.

    Every method raises MirrorError if the file system fails.
    """

    def __init__(self, url: str) -> None:
        """Connects to the file system; raises UsageError as `check_url` does."""
        import fsspec

        check_url(url)
        self.url = url.rstrip("/")
        protocol = self.url.partition("://")[0]
        with self._errors_as("reached"):
            # No cache of listings: another machine may write to the folder.
            self._fs: Any = fsspec.filesystem(protocol, skip_instance_cache=True, use_listings_cache=False)
            self._root = str(self._fs._strip_protocol(self.url)).rstrip("/")
        self._renames = protocol not in WHOLE_WRITES

    def files(self) -> dict[str, int]:
        """The size of every file, in bytes; empty if the folder does not exist."""
        with self._errors_as("listed"):
            found = self._fs.find(self._root, detail=True)
            return {str(path).removeprefix(self._root).lstrip("/"): int(i["size"] or 0) for path, i in found.items()}

    def put(self, name: str, path: Path) -> None:
        """Uploads a file atomically: a reader sees the old or the new content."""
        with self._atomic_target(name) as target:
            self._fs.put_file(str(path), target)

    def get(self, name: str, path: Path) -> None:
        """Downloads a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._errors_as(f"read ({name})"):
            self._fs.get_file(f"{self._root}/{name}", str(path))

    def read(self, name: str) -> bytes:
        """The content of a small file."""
        with self._errors_as(f"read ({name})"):
            return bytes(self._fs.cat_file(f"{self._root}/{name}"))

    def read_json(self, name: str) -> dict[str, Any]:
        """The content of a small JSON file."""
        try:
            value: dict[str, Any] = json.loads(self.read(name))
        except ValueError as e:
            raise MirrorError(f"{self.url}/{name} is not JSON ({e}): rlkit did not write it") from e
        return value

    def write(self, name: str, value: bytes) -> None:
        """Writes a small file atomically: a reader sees the old or the new content."""
        with self._atomic_target(name) as target:
            self._fs.pipe_file(target, value)

    def remove(self, names: Iterable[str]) -> None:
        """Deletes files, in order; ignores those that do not exist."""
        for name in names:
            with self._errors_as(f"deleted from ({name})"):
                try:
                    self._fs.rm_file(f"{self._root}/{name}")
                except FileNotFoundError:
                    continue

    @contextmanager
    def _atomic_target(self, name: str) -> Iterator[str]:
        """Yields the path to write to; after the block it is renamed to its final name."""
        target = f"{self._root}/{name}"
        with self._errors_as(f"written ({name})"):
            self._fs.makedirs(self._fs._parent(target), exist_ok=True)
            yield target + PART if self._renames else target
            if self._renames:
                self._fs.mv(target + PART, target)

    @contextmanager
    def _errors_as(self, done: str) -> Iterator[None]:
        """Raises any error in the block as a MirrorError. Each file system has its own error classes, so catch all."""
        try:
            yield
        except Exception as e:
            first = (str(e).strip().splitlines() or [""])[0]
            raise MirrorError(f"{self.url} cannot be {done}: {type(e).__name__}: {first}") from e
