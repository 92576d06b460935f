"""A folder on any file system that fsspec knows: the few things a run's mirror does there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rlkit.errors import MirrorError, UsageError, did_you_mean

WHOLE_WRITES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "memory")
"""Object stores: a file is there once all of it is. Elsewhere it is written beside and renamed."""
PART = ".part"
"""Ends the name of a file that is being written."""


def check_url(url: str) -> None:
    """Whether the file system of a URL is known and its package installed; nothing is contacted.

    Raises:
        UsageError: naming the package, or the nearest file system.
    """
    from fsspec.registry import known_implementations, registry

    protocol = url.partition("://")[0]
    if protocol in registry:
        return
    if protocol not in known_implementations:
        raise UsageError(
            f"run.mirror={url}: fsspec knows no file system {protocol!r}{did_you_mean(protocol, known_implementations)}"
        )
    package = known_implementations[protocol]["class"].partition(".")[0]
    if find_spec(package) is None:
        raise UsageError(f"run.mirror={url} needs the package {package}, which is not installed: pip install {package}")


class RemoteFolder:
    """Files below a URL, by their names relative to it.

    Every method raises MirrorError where the file system fails.
    """

    def __init__(self, url: str) -> None:
        """Raises UsageError as `check_url` does."""
        import fsspec

        check_url(url)
        self.url = url.rstrip("/")
        protocol = self.url.partition("://")[0]
        with self._failing("reached"):
            # Listings are always fresh: another machine may write there.
            self._fs: Any = fsspec.filesystem(protocol, skip_instance_cache=True, use_listings_cache=False)
            self._root = str(self._fs._strip_protocol(self.url)).rstrip("/")
        self._renames = protocol not in WHOLE_WRITES

    def files(self) -> dict[str, int]:
        """Every file's size in bytes; nothing where the folder is not there."""
        with self._failing("listed"):
            found = self._fs.find(self._root, detail=True)
            return {str(path).removeprefix(self._root).lstrip("/"): int(i["size"] or 0) for path, i in found.items()}

    def put(self, name: str, path: Path) -> None:
        """Copies a file there; whoever reads sees the old one or the new one."""
        with self._placing(name) as target:
            self._fs.put_file(str(path), target)

    def get(self, name: str, path: Path) -> None:
        """Copies a file here."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._failing(f"read ({name})"):
            self._fs.get_file(f"{self._root}/{name}", str(path))

    def read(self, name: str) -> bytes:
        """A small file."""
        with self._failing(f"read ({name})"):
            return bytes(self._fs.cat_file(f"{self._root}/{name}"))

    def read_json(self, name: str) -> dict[str, Any]:
        """A small file of ours."""
        try:
            value: dict[str, Any] = json.loads(self.read(name))
        except ValueError as e:
            raise MirrorError(f"{self.url}/{name} is no JSON ({e}): it was written by something else") from e
        return value

    def write(self, name: str, value: bytes) -> None:
        """A small file; whoever reads sees the old one or the new one."""
        with self._placing(name) as target:
            self._fs.pipe_file(target, value)

    def remove(self, names: Iterable[str]) -> None:
        """Deletes files, in order; those that are not there are passed over."""
        for name in names:
            with self._failing(f"deleted from ({name})"):
                try:
                    self._fs.rm_file(f"{self._root}/{name}")
                except FileNotFoundError:
                    continue

    @contextmanager
    def _placing(self, name: str) -> Iterator[str]:
        """The path to write; the file is there under its name, whole, once this ends well."""
        target = f"{self._root}/{name}"
        with self._failing(f"written ({name})"):
            self._fs.makedirs(self._fs._parent(target), exist_ok=True)
            yield target + PART if self._renames else target
            if self._renames:
                self._fs.mv(target + PART, target)

    @contextmanager
    def _failing(self, done: str) -> Iterator[None]:
        """Each file system has errors of its own, so every one of them is caught."""
        try:
            yield
        except Exception as e:
            first = (str(e).strip().splitlines() or [""])[0]
            raise MirrorError(f"{self.url} cannot be {done}: {type(e).__name__}: {first}") from e
