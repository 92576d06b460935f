"""Writes a run's files: metrics, evaluations, events, logs and samples.

A kill may truncate the last row of a JSON-lines file, which readers drop. All other files are written atomically.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from rlkit.disk import sync, write_atomically
from rlkit.errors import CheckpointError
from rlkit.records import Sample, ScoredGroup

METRICS, EVALUATIONS, EVENTS = "metrics.jsonl", "evaluations.jsonl", "events.jsonl"


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file, without a truncated last line; empty if the file does not exist."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _drop_truncated_row(path: Path) -> None:
    """Removes a truncated last row, so that the next row starts on a new line."""
    if path.exists() and (text := path.read_bytes()) and not text.endswith(b"\n"):
        os.truncate(path, text.rfind(b"\n") + 1)


class RunLog:
    """Writes metrics.jsonl, evaluations.jsonl, events.jsonl, run.log, rollouts and summary.json of one run."""

    def __init__(self, run_dir: Path, on_step: Callable[[Mapping[str, Any]], None] = lambda row: None) -> None:
        """`on_step` gets every row of metrics.jsonl as it is written."""
        self.run_dir = run_dir
        self._on_step = on_step
        self._unsynced: set[Path] = set()
        run_dir.mkdir(parents=True, exist_ok=True)
        for name in (METRICS, EVALUATIONS, EVENTS):
            _drop_truncated_row(run_dir / name)

    def step(self, row: Mapping[str, Any]) -> None:
        """Appends one step's metrics."""
        self._append(METRICS, row)
        self._on_step(row)

    def last_step(self, stage: str) -> int:
        """The last step of a stage for which there are metrics; 0: none."""
        return max((row["step"] for row in read_rows(self.run_dir / METRICS) if row["stage"] == stage), default=0)

    def evaluation(self, row: Mapping[str, Any]) -> None:
        """Appends the result of an evaluation inside a stage to evaluations.jsonl."""
        self._append(EVALUATIONS, row)

    def evaluations(self, stage: str) -> list[dict[str, Any]]:
        """The rows of a stage in evaluations.jsonl."""
        return [row for row in read_rows(self.run_dir / EVALUATIONS) if row["stage"] == stage]

    def event(self, kind: str, text: str) -> None:
        """Appends an event, such as a replaced worker or a checkpoint, to events.jsonl and run.log.

        Ignores write errors: the event may report just that the disk is full.
        """
        try:
            self._append(EVENTS, {"time": time.time(), "event": kind, "text": text})
        except OSError:
            with suppress(OSError):
                _drop_truncated_row(self.run_dir / EVENTS)
        self.line(f"{kind}: {text}")

    def num_events(self) -> dict[str, int]:
        """Number of events of each kind, over all starts of the run; ignores damaged lines."""
        path, counts = self.run_dir / EVENTS, Counter[str]()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
            with suppress(ValueError, KeyError, TypeError):
                counts[str(json.loads(line)["event"])] += 1
        return dict(sorted(counts.items()))

    def line(self, text: str) -> None:
        """Appends a line to run.log; ignores write errors."""
        with suppress(OSError), (self.run_dir / "run.log").open("a", encoding="utf-8") as f:
            f.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def sync(self) -> None:
        """Flushes metrics, evaluations and rollouts to disk, so that they are at least as recent as a checkpoint.

        Raises:
            CheckpointError: The disk is full or fails.
        """
        try:
            for path in sorted({*self._unsynced, *(path.parent for path in self._unsynced)}):
                with suppress(FileNotFoundError):  # the user may have deleted old samples to free space
                    sync(path)
        except OSError as e:
            raise CheckpointError(
                f"metrics and samples of {self.run_dir} cannot be written to disk: {e.strerror}; no checkpoint is "
                "saved without them: free space"
            ) from e
        self._unsynced.clear()

    def write_json(self, name: str, value: Any) -> None:
        """Writes a JSON file atomically."""
        write_atomically(self.run_dir / name, json.dumps(_finite(value), indent=2) + "\n")

    def keep_steps(self, stage: str, last_step: int) -> None:
        """Deletes a stage's rows and rollouts after `last_step`, because a resume repeats these steps."""
        for path in (self.run_dir / METRICS, self.run_dir / EVALUATIONS):
            if path.exists():
                kept = [row for row in read_rows(path) if row["stage"] != stage or row["step"] <= last_step]
                write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept))
        for rollouts in (self.run_dir / stage / "rollouts").glob("step-*.parquet"):
            if int(rollouts.stem.removeprefix("step-")) > last_step:
                rollouts.unlink()
                self._unsynced.discard(rollouts)
        for unfinished in (self.run_dir / stage / "rollouts").glob("*.tmp"):
            unfinished.unlink()

    def rollouts(
        self, stage: str, step: int, groups: Sequence[ScoredGroup], advantages: Sequence[Sequence[float | None]]
    ) -> None:
        """Writes every sample of a step with its scores to `<stage>/rollouts/step-N.parquet`.

        A row's `group` is its task's id. If a step contains a task more than once, the names of its later groups and
        their samples get a number: `sum-7@2`, `sum-7@2#0`.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = _unique([group.task.id for group in groups])
        rows = [
            _sample_row(name, group, i, sample, group_advantages[i])
            for group, name, group_advantages in zip(groups, names, advantages, strict=True)
            for i, sample in enumerate(group.samples)
        ]
        path = self.run_dir / stage / "rollouts" / f"step-{step:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        pq.write_table(pa.Table.from_pylist(rows, schema=_rollout_schema(list(groups[0].parts))), temporary)
        os.replace(temporary, path)
        self._unsynced.add(path)

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        with (self.run_dir / name).open("a", encoding="utf-8") as f:
            f.write(json.dumps(_finite(row)) + "\n")
        self._unsynced.add(self.run_dir / name)


def _finite(value: Any) -> Any:
    """Replaces NaN and infinities by None, because JSON cannot represent them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


def as_json(value: Any) -> str:
    """Any value as JSON text; values that JSON cannot represent become their repr."""
    return json.dumps(_finite(value), default=repr, ensure_ascii=False)


def _unique(names: Sequence[str]) -> list[str]:
    """Makes names unique: a repeated name gets the smallest free number, from 2 on: `a`, `a@2`."""
    taken, seen = set(names), set[str]()
    found = []
    for name in names:
        new = name
        if name in seen:
            new = next(new for k in count(2) if (new := f"{name}@{k}") not in taken)
        seen.add(name)
        taken.add(new)
        found.append(new)
    return found


def _sample_row(name: str, group: ScoredGroup, i: int, sample: Sample, advantage: float | None) -> dict[str, Any]:
    reference = group.task.reference
    return {
        "id": f"{name}#{i}",
        "kind": group.task.kind,
        "prompt": group.task.prompt,
        "history": as_json(group.task.history) if group.task.history else None,
        "response": sample.response,
        "reference": reference if isinstance(reference, str) else as_json(reference),
        "num_tokens": sample.num_tokens,
        "group": name,
        "reward": group.rewards[i],
        "parts": {
            name: {
                "value": scores[i].value,
                "weight": group.weights[name],
                "verdict": scores[i].verdict,
                "reason": scores[i].reason,
                "evidence": as_json(scores[i].evidence),
            }
            for name, scores in group.parts.items()
        },
        "prompt_ids": sample.prompt_ids.tolist(),
        "token_ids": sample.token_ids.tolist(),
        "logprobs": sample.logprobs.tolist(),
        "seed": sample.seed,
        "policy_version": sample.policy_version,
        "finish_reason": sample.finish_reason,
        "advantage": advantage,
    }


def _rollout_schema(part_names: Sequence[str]) -> Any:
    import pyarrow as pa

    part = pa.struct(
        [
            ("value", pa.float64()),
            ("weight", pa.float64()),
            ("verdict", pa.string()),
            ("reason", pa.string()),
            ("evidence", pa.string()),
        ]
    )
    names = ("id", "kind", "prompt", "history", "response", "reference", "group", "finish_reason")
    text = {n: pa.string() for n in names}
    return pa.schema(
        [
            *((n, text[n]) for n in ("id", "kind", "prompt", "history", "response", "reference")),
            ("num_tokens", pa.int64()),
            ("group", pa.string()),
            ("reward", pa.float64()),
            ("parts", pa.struct([(name, part) for name in part_names])),
            ("prompt_ids", pa.list_(pa.int64())),
            ("token_ids", pa.list_(pa.int64())),
            ("logprobs", pa.list_(pa.float64())),
            ("seed", pa.int64()),
            ("policy_version", pa.int64()),
            ("finish_reason", pa.string()),
            ("advantage", pa.float64()),
        ]
    )
