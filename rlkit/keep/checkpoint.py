"""What a resume needs, written so that a checkpoint is either whole or not there, and checked before it is used.

"Checkpoint N": step N's update is done and the data position after it is saved; a resume starts at N + 1 after a sync.

    checkpoints/step-000020/learner/...   state.json   manifest.json (every other file's size and SHA-256)
    checkpoints/damaged-step-000030/      one that did not match its manifest when a resume wanted it
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

    What a kill left half written or half deleted goes; what lacked nothing but its name gets it.

    Raises:
        CheckpointError: there are checkpoints, and every one is damaged.
    """
    for torn in folder.glob(".step-*.tmp"):
        _name_or_drop(torn, run_id)
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


def _name_or_drop(torn: Path, run_id: str) -> None:
    place = torn.with_name(torn.name.split(".")[1])
    step = place.name.removeprefix("step-")
    wanted = step.isdigit() and torn != _beside(place, "old") and not place.exists()
    if wanted and find_damage(Checkpoint(int(step), torn), run_id) is None:
        torn.rename(place)
    else:
        shutil.rmtree(torn, ignore_errors=True)


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
    """A checkpoint that is being written, beside its place; `seal_checkpoint` makes it one."""

    place: Path
    """Where it goes."""
    step: int
    state: dict[str, Any]
    """The driver's."""
    run_id: str
    attempt: str = field(default_factory=lambda: uuid4().hex[:8])
    """Tells it from a draft of the same step whose writer may still be at work (Ctrl-C came while it was begun)."""

    @property
    def path(self) -> Path:
        """Where it is now."""
        return _beside(self.place, self.attempt)

    @property
    def learner_state(self) -> Path:
        """Where the learner's files go; not made yet."""
        return self.path / "learner"

    def failed(self, error: Exception) -> CheckpointError:
        """Drops it; returns the sentence that says why there is no checkpoint."""
        shutil.rmtree(self.path, ignore_errors=True)
        why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        return CheckpointError(
            f"checkpoint {self.step} cannot be written to {self.place.parent}: {why}; earlier checkpoints are "
            "untouched: free space or make the folder writable"
        )


def begin_checkpoint(folder: Path, step: int, state: dict[str, Any], *, run_id: str) -> Draft:
    """Makes an empty folder beside the checkpoint's place.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written.
    """
    draft = Draft(folder / f"step-{step:06d}", step, state, run_id)
    try:
        draft.path.mkdir(parents=True)
    except OSError as e:
        raise draft.failed(e) from e
    return draft


def seal_checkpoint(draft: Draft) -> None:
    """Adds the driver's state and the checksums, syncs everything and renames it into place. Deletes no other.

    Raises:
        OSError: something cannot be written; what is there is no checkpoint.
    """
    (draft.path / "state.json").write_text(json.dumps(draft.state), encoding="utf-8")
    _write_manifest(draft.path, draft.run_id, draft.step)
    # There may be one of an earlier start, before the step was done again, or of an earlier attempt.
    replace_folder(draft.path, draft.place)


def save_checkpoint(
    folder: Path, step: int, state: dict[str, Any], write: Callable[[Path], None], *, run_id: str
) -> None:
    """Writes a whole checkpoint; `write` makes the learner's folder.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; earlier checkpoints stay as they are.
    """
    draft = begin_checkpoint(folder, step, state, run_id=run_id)
    try:
        write(draft.learner_state)
        seal_checkpoint(draft)
    except OSError as e:
        raise draft.failed(e) from e


def prune_checkpoints(folder: Path, *, keep_last: int, keep: Collection[int]) -> None:
    """Deletes the oldest beyond `keep_last`, but for the steps in `keep`; called once a newer one is whole."""
    for old in list_checkpoints(folder)[:-keep_last]:
        if old.step not in keep:
            # Under another name first: a kill must not leave half a checkpoint under its own.
            doomed = _beside(old.path, "old")
            shutil.rmtree(doomed, ignore_errors=True)
            with suppress(OSError):
                old.path.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def _beside(checkpoint: Path, why: str) -> Path:
    """Where a checkpoint is written before it gets its name, and goes before it is deleted."""
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
    """The newest whole checkpoint of a stage, None where there is none; says which ones are damaged.

    Raises:
        CheckpointError: there are checkpoints, and none is whole.
    """
    found = find_checkpoint(folder, run_id)
    for damage in found.damaged:
        log.event("checkpoint_damaged", damage)
        report.line(f"{damage}; the one before it is used")
    return found.checkpoint
