"""Builds the component and compiles it for this machine, once for each version of what goes into it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rlkit.verify.sandbox.job import SandboxError

_HERE = Path(__file__).resolve().parent
_SHARED = ("harness", "surroundings", "tester", "values")
_SOURCES = {
    "guest.py": _HERE / "guest.py",
    **{f"rlkit/verify/sandbox/{name}.py": _HERE.parent / f"{name}.py" for name in _SHARED},
}
"""The files of the component, by their names in it."""
_PACKAGES = ("rlkit", "rlkit/verify", "rlkit/verify/sandbox")
_WORLD = """
package rlkit:sandbox;
world judge {
  import send: func(frame: string);
  import receive: func() -> option<string>;
  export run: func(request: string) -> s32;
}
"""
_COMPONENTIZE = "import sys; from componentize_py import script; sys.exit(script())"
_TIMEOUT_S = 600.0
_STACK_BYTES = 2 << 20
"""The largest guest stack that wasmtime allows beside its own 2 MiB; a deep recursion of the guest ends there."""
MAX_TABLE_ELEMENTS = 100_000
# There is one instance at a time, of one component. The sizes are those of CPython's component, with room.
_POOL = {
    "linear_memory_keep_resident": 16 << 20,
    "table_keep_resident": 1 << 20,
    "total_memories": 4,
    "max_memories_per_component": 4,
    "total_tables": 40,
    "max_tables_per_component": 40,
    "table_elements": MAX_TABLE_ELEMENTS,
    "max_core_instance_size": 4 << 20,
    "max_component_instance_size": 4 << 20,
}


def make_engine() -> Any:
    """A wasmtime engine whose guests can be interrupted; component files fit only engines made here."""
    import wasmtime

    config = wasmtime.Config()
    config.epoch_interruption = True
    config.max_wasm_stack = _STACK_BYTES
    _keep_memory_mapped(config)
    return wasmtime.Engine(config)


def _keep_memory_mapped(config: Any) -> None:
    """Takes instances from a pool whose memory stays mapped and is written over with the stored one between jobs.

    Mapping it again costs a job some 400 page faults, half of its time. The package has no public name for the pool, so
    these are the functions of wasmtime's C interface; the extra pins the version.
    """
    from wasmtime import _bindings as c_api

    pool = c_api.wasmtime_pooling_allocation_config_new()
    for name, value in _POOL.items():
        getattr(c_api, f"wasmtime_pooling_allocation_config_{name}_set")(pool, value)
    c_api.wasmtime_pooling_allocation_strategy_set(config.ptr(), pool)
    c_api.wasmtime_pooling_allocation_config_delete(pool)


def built_component() -> Path:
    """The compiled component in the user's cache, built first where it is not there (about ten seconds).

    Raises:
        SandboxError: the packages are missing, the build fails, or others may write to the cache.
    """
    try:
        versions = [f"{name} {version(name)}" for name in ("componentize-py", "wasmtime")]
    except PackageNotFoundError as e:
        raise SandboxError(f"the wasm tier needs the package {e.name}: pip install 'rlkit[wasm]'") from e
    parts = [
        *versions,
        _WORLD,
        repr((_STACK_BYTES, _POOL)),
        *(path.read_text(encoding="utf-8") for path in _SOURCES.values()),
    ]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    folder = _cache_folder()
    found = folder / f"judge-{key}.cwasm"
    # Processes that start at the same time wait for the first one's build.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            _build(found)
    return found


def _cache_folder() -> Path:
    """Where compiled components are kept: they are loaded as machine code, so nobody else may write there."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "rlkit" / "wasm"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
    except OSError as e:
        raise SandboxError(f"{folder}: the wasm tier cannot keep its component there ({e.strerror})") from e
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise SandboxError(f"{folder}: others may write there, so no component is loaded from it (chmod 700)")
    return folder


def _build(target: Path) -> None:
    """Builds the component, compiles it for this machine and puts it in its place."""
    import wasmtime
    from wasmtime.component import Component

    # No other build runs while this one has the lock, so these folders are left from builds that were killed.
    for left in target.parent.glob("build-*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as scratch:
        component = _componentize(Path(scratch))
        try:
            compiled = Component.from_file(make_engine(), str(component)).serialize()
        except wasmtime.WasmtimeError as e:
            raise SandboxError(f"the wasm tier's component does not compile: {e}") from e
        partial = Path(scratch) / "compiled"
        partial.write_bytes(compiled)
        partial.replace(target)
    for old in target.parent.glob("judge-*.cwasm"):
        if old != target:
            # Another process may use the old version; its open file stays usable without a name.
            with contextlib.suppress(OSError):
                old.unlink()


def _componentize(scratch: Path) -> Path:
    """The sources as a component file."""
    for package in _PACKAGES:
        (scratch / package).mkdir(parents=True)
        # Empty files: the real ones would import modules that the guest does not need.
        (scratch / package / "__init__.py").touch()
    for name, source in _SOURCES.items():
        shutil.copyfile(source, scratch / name)
    (scratch / "judge.wit").write_text(_WORLD, encoding="utf-8")
    words = ("-d", "judge.wit", "-w", "judge", "componentize", "guest", "-p", ".", "-o", "judge.wasm")
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-B", "-c", _COMPONENTIZE, *words],
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        raise SandboxError(f"the wasm tier's component cannot be built: {e}") from e
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise SandboxError(f"the wasm tier's component cannot be built: {' '.join(last)}")
    return scratch / "judge.wasm"
