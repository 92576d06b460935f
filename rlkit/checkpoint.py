"""What a resume needs, written so that a checkpoint is either whole or not there, and checked before it is used.

"Checkpoint N": step N's update is done and the data position after it is saved; a resume starts at N + 1 after a sync.

    checkpoints/step-000020/learner/...   state.json   manifest.json (every other file's size and SHA-256)
    checkpoints/damaged-step-000030/      one that did not match its manifest when a resume wanted it
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.errors import CheckpointError, ClusterError

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk."""

    step: int
    path: Path

    @property
    def learner_state(self) -> Path:
        """The learner's folder, of as many files as it had ranks."""
        return self.path / "learner"

    def state(self) -> dict[str, Any]:
        """The driver's state: stream position and what came before."""
        state: dict[str, Any] = json.loads((self.path / "state.json").read_text(encoding="utf-8"))
        return state


@dataclass(frozen=True)
class Found:
    """The newest checkpoint that can be used, and newer ones that cannot."""

    checkpoint: Checkpoint | None
    damaged: tuple[str, ...]
    """One sentence each."""


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """The checkpoints of a stage, oldest first, unchecked."""
    found = [
        Checkpoint(int(p.name.removeprefix("step-")), p)
        for p in folder.glob("step-*")
        if p.name.removeprefix("step-").isdigit()
    ]
    return sorted(found, key=lambda c: c.step)


def find_checkpoint(folder: Path, run_id: str) -> Found:
    """The newest whole checkpoint of this run; damaged ones before it are put aside under another name.

    Raises:
        CheckpointError: there are checkpoints, and every one is damaged.
    """
    damaged: list[tuple[Checkpoint, str]] = []
    whole = None
    for checkpoint in reversed(list_checkpoints(folder)):
        problem = find_damage(checkpoint, run_id)
        if problem is None:
            whole = checkpoint
            break
        damaged.append((checkpoint, f"checkpoint {checkpoint.path} cannot be used: {problem}"))
    told = tuple(text for _, text in damaged)
    if damaged and whole is None:
        raise CheckpointError(
            f"{'; '.join(told)}; no whole one is left: put one back, or move {folder} away to start the stage anew"
        )
    for checkpoint, _ in damaged:
        aside = checkpoint.path.with_name(f"damaged-{checkpoint.path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        checkpoint.path.rename(aside)
    return Found(whole, told)


def find_damage(checkpoint: Checkpoint, run_id: str) -> str | None:
    """What is wrong with a checkpoint, naming the file; None where it is whole and this run's."""
    try:
        manifest = json.loads((checkpoint.path / MANIFEST).read_text(encoding="utf-8"))
        files = {str(name): (int(size), str(digest)) for name, (size, digest) in manifest["files"].items()}
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        return f"{MANIFEST} cannot be read ({type(e).__name__})"
    if manifest.get("digest") != _digest_of(files, manifest.get("run"), manifest.get("step")):
        return f"{MANIFEST} does not match its own checksum"
    if manifest["run"] != run_id:
        return "it belongs to another run"
    if manifest["step"] != checkpoint.step:
        return f"it is of step {manifest['step']}"
    for name, (size, digest) in files.items():
        path = checkpoint.path / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if _sha256(path) != digest:
            return f"{name} does not match its checksum"
    return None


def save_checkpoint(
    folder: Path, step: int, state: dict[str, Any], save_learner: Callable[[Path], None], *, run_id: str
) -> Checkpoint:
    """Writes a checkpoint beside, with checksums, syncs it and renames it into place. Deletes no other.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; earlier checkpoints stay as they are.
    """
    final = folder / f"step-{step:06d}"
    beside = folder / f".step-{step:06d}.tmp"
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        save_learner(beside / "learner")
        (beside / "state.json").write_text(json.dumps(state), encoding="utf-8")
        _write_manifest(beside, run_id, step)
        for path in (*beside.rglob("*"), beside):
            _sync(path)
        if final.exists():  # of an earlier start, from before the step was done again
            shutil.rmtree(final)
        os.replace(beside, final)
        _sync(folder)
    except (OSError, ClusterError) as e:  # the learner's own write fails in its actor
        why = e.strerror or str(e) if isinstance(e, OSError) else str(e)
        raise CheckpointError(
            f"checkpoint {step} cannot be written to {folder}: {why}; earlier checkpoints are untouched: "
            "free space or make the folder writable"
        ) from e
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Checkpoint(step, final)


def prune_checkpoints(folder: Path, *, keep_last: int, keep: Collection[int]) -> None:
    """Deletes the oldest beyond `keep_last`, but for the steps in `keep`; called once a newer one is whole."""
    for old in list_checkpoints(folder)[:-keep_last]:
        if old.step not in keep:
            shutil.rmtree(old.path, ignore_errors=True)


def _write_manifest(folder: Path, run_id: str, step: int) -> None:
    files = {
        str(path.relative_to(folder)): (path.stat().st_size, _sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = {"run": run_id, "step": step, "files": files, "digest": _digest_of(files, run_id, step)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _digest_of(files: dict[str, tuple[int, str]], run_id: Any, step: Any) -> str:
    return hashlib.sha256(json.dumps([run_id, step, sorted(files.items())]).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
