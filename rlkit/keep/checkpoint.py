"""Checkpoints of a stage: written atomically, and verified by checksums before a resume uses them.

Checkpoint N contains the state after step N's update and the data position after it. A resume syncs the weights to the
engines and continues with step N + 1.

    checkpoints/step-000020/learner/...   state.json   manifest.json (size and SHA-256 of every other file)
    checkpoints/damaged-step-000030/      a checkpoint that did not match its manifest at a resume
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from rlkit.disk import replace_folder
from rlkit.errors import CheckpointError
from rlkit.watch.report import Report
from rlkit.watch.runlog import RunLog

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk."""

    step: int
    path: Path

    @property
    def learner_state(self) -> Path:
        """Folder of the learner's state, with one file per rank."""
        return self.path / "learner"

    def state(self) -> dict[str, Any]:
        """The driver's state, such as the position in the data."""
        state: dict[str, Any] = json.loads((self.path / "state.json").read_text(encoding="utf-8"))
        return state


@dataclass(frozen=True)
class FoundCheckpoint:
    """The newest intact checkpoint, and reports on newer, damaged ones."""

    checkpoint: Checkpoint | None
    """None: the stage has no checkpoint."""
    damaged: tuple[str, ...]
    """One sentence per damaged checkpoint."""


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """The checkpoints of a stage, oldest first, without verification."""
    found = [
        Checkpoint(int(p.name.removeprefix("step-")), p)
        for p in folder.glob("step-*")
        if p.name.removeprefix("step-").isdigit()
    ]
    return sorted(found, key=lambda c: c.step)


def find_checkpoint(folder: Path, run_id: str) -> FoundCheckpoint:
    """Finds the newest intact checkpoint of this run. Renames newer, damaged ones to `damaged-*`.

    Also cleans up after a kill: completes a checkpoint that was only not renamed yet, and deletes temporary folders.

    Raises:
        CheckpointError: There are checkpoints, and all are damaged.
    """
    for temporary in folder.glob(".step-*.tmp"):
        _complete_or_delete(temporary, run_id)
    damaged: list[tuple[Checkpoint, str]] = []
    intact = None
    for checkpoint in reversed(list_checkpoints(folder)):
        problem = find_damage(checkpoint, run_id)
        if problem is None:
            intact = checkpoint
            break
        damaged.append((checkpoint, f"checkpoint {checkpoint.path} cannot be used: {problem}"))
    reports = tuple(text for _, text in damaged)
    if damaged and intact is None:
        raise CheckpointError(
            f"{'; '.join(reports)}; no intact checkpoint is left: restore one, or move {folder} away to start the "
            "stage again"
        )
    for checkpoint, _ in damaged:
        renamed = checkpoint.path.with_name(f"damaged-{checkpoint.path.name}")
        shutil.rmtree(renamed, ignore_errors=True)
        checkpoint.path.rename(renamed)
    return FoundCheckpoint(intact, reports)


def _complete_or_delete(temporary: Path, run_id: str) -> None:
    """Renames a temporary folder to its final name if it is complete and the name is free; else deletes it."""
    final = temporary.with_name(temporary.name.split(".")[1])
    step = final.name.removeprefix("step-")
    usable = step.isdigit() and temporary != _temporary_name(final, "old") and not final.exists()
    if usable and find_damage(Checkpoint(int(step), temporary), run_id) is None:
        temporary.rename(final)
    else:
        shutil.rmtree(temporary, ignore_errors=True)


def find_damage(checkpoint: Checkpoint, run_id: str) -> str | None:
    """The problem with a checkpoint, naming the file; None if it is intact and belongs to this run."""
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
    problems = (_file_damage(checkpoint.path / name, name, *expected) for name, expected in files.items())
    return next((problem for problem in problems if problem is not None), None)


def _file_damage(path: Path, name: str, size: int, digest: str) -> str | None:
    try:
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if _sha256(path) != digest:
            return f"{name} does not match its checksum"
    except OSError as e:
        return f"{name} cannot be read ({e.strerror})"
    return None


@dataclass(frozen=True)
class Draft:
    """A checkpoint that is being written in a temporary folder; `seal_checkpoint` completes it."""

    place: Path
    """Folder of the complete checkpoint."""
    step: int
    state: dict[str, Any]
    """The driver's state."""
    run_id: str
    attempt: str = field(default_factory=lambda: uuid4().hex[:8])
    """Random part of the temporary name: after Ctrl-C an earlier draft of the same step may still be written."""

    @property
    def path(self) -> Path:
        """The temporary folder."""
        return _temporary_name(self.place, self.attempt)

    @property
    def learner_state(self) -> Path:
        """Folder for the learner's state; does not exist yet."""
        return self.path / "learner"

    def failed(self, error: Exception) -> CheckpointError:
        """Deletes the draft and returns the error to raise."""
        shutil.rmtree(self.path, ignore_errors=True)
        why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        return CheckpointError(
            f"checkpoint {self.step} cannot be written to {self.place.parent}: {why}; earlier checkpoints are "
            "untouched: free space or make the folder writable"
        )


def begin_checkpoint(folder: Path, step: int, state: dict[str, Any], *, run_id: str) -> Draft:
    """Creates the temporary folder of a checkpoint.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written.
    """
    draft = Draft(folder / f"step-{step:06d}", step, state, run_id)
    try:
        draft.path.mkdir(parents=True)
    except OSError as e:
        raise draft.failed(e) from e
    return draft


def seal_checkpoint(draft: Draft) -> None:
    """Adds the driver's state and the checksums, flushes all to disk and renames the folder to its final name.

    Deletes no other checkpoint.

    Raises:
        OSError: A file cannot be written; the draft does not count as a checkpoint.
    """
    (draft.path / "state.json").write_text(json.dumps(draft.state), encoding="utf-8")
    _write_manifest(draft.path, draft.run_id, draft.step)
    # There may be one of an earlier start, before the step was done again, or of an earlier attempt.
    replace_folder(draft.path, draft.place)


def save_checkpoint(
    folder: Path, step: int, state: dict[str, Any], write: Callable[[Path], None], *, run_id: str
) -> None:
    """Writes a complete checkpoint; `write` creates the folder of the learner's state.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written; earlier checkpoints are not changed.
    """
    draft = begin_checkpoint(folder, step, state, run_id=run_id)
    try:
        write(draft.learner_state)
        seal_checkpoint(draft)
    except OSError as e:
        raise draft.failed(e) from e


def prune_checkpoints(folder: Path, *, keep_last: int, keep: Collection[int]) -> None:
    """Deletes all but the newest `keep_last` checkpoints and the steps in `keep`, once a new one is complete."""
    for old in list_checkpoints(folder)[:-keep_last]:
        if old.step not in keep:
            # Rename it first, so that a kill cannot leave half a checkpoint under its final name.
            renamed = _temporary_name(old.path, "old")
            shutil.rmtree(renamed, ignore_errors=True)
            with suppress(OSError):
                old.path.rename(renamed)
            shutil.rmtree(renamed, ignore_errors=True)


def _temporary_name(checkpoint: Path, why: str) -> Path:
    """Name of a checkpoint's folder while it is written or deleted."""
    return checkpoint.with_name(f".{checkpoint.name}.{why}.tmp")


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


def newest_checkpoint(folder: Path, run_id: str, log: RunLog, report: Report) -> Checkpoint | None:
    """The newest intact checkpoint of a stage; None if there is none. Logs and prints damaged ones.

    Raises:
        CheckpointError: There are checkpoints, and all are damaged.
    """
    found = find_checkpoint(folder, run_id)
    for damage in found.damaged:
        log.event("checkpoint_damaged", damage)
        report.line(f"{damage}; using the previous checkpoint")
    return found.checkpoint
