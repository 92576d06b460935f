"""The folder a run leaves behind: metrics, evaluations, events, samples, and what makes each survive a kill.

Rows are appended, and a kill may cut off the last one; other files are written beside and renamed: they are whole.
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

from rlkit.disk import sync, write_whole
from rlkit.errors import CheckpointError
from rlkit.records import Sample, ScoredGroup

METRICS, EVALUATIONS, EVENTS = "metrics.jsonl", "evaluations.jsonl", "events.jsonl"


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines; a last line that a kill cut off is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _end_last_row(path: Path) -> None:
    """Drops a last row that a kill cut off: the next one would be written on to it."""
    if path.exists() and (text := path.read_bytes()) and not text.endswith(b"\n"):
        os.truncate(path, text.rfind(b"\n") + 1)


class RunLog:
    """Writes metrics.jsonl, events.jsonl, run.log, rollouts and summary.json of one run folder."""

    def __init__(self, run_dir: Path, on_step: Callable[[Mapping[str, Any]], None] = lambda row: None) -> None:
        """`on_step` gets every row of metrics.jsonl as it is written."""
        self.run_dir = run_dir
        self._on_step = on_step
        self._unsynced: set[Path] = set()
        run_dir.mkdir(parents=True, exist_ok=True)
        for name in (METRICS, EVALUATIONS, EVENTS):
            _end_last_row(run_dir / name)

    def step(self, row: Mapping[str, Any]) -> None:
        """Appends one step's metrics."""
        self._append(METRICS, row)
        self._on_step(row)

    def last_step(self, stage: str) -> int:
        """The last step of a stage that has metrics; 0: none."""
        return max((row["step"] for row in read_rows(self.run_dir / METRICS) if row["stage"] == stage), default=0)

    def evaluation(self, row: Mapping[str, Any]) -> None:
        """Appends what an evaluation inside a stage found, to evaluations.jsonl."""
        self._append(EVALUATIONS, row)

    def evaluations(self, stage: str) -> list[dict[str, Any]]:
        """What `evaluation` wrote of a stage."""
        return [row for row in read_rows(self.run_dir / EVALUATIONS) if row["stage"] == stage]

    def event(self, kind: str, text: str) -> None:
        """Appends something that happened: a replaced worker, a checkpoint, the end.

        A full disk does not raise here: what is told may be just that.
        """
        try:
            self._append(EVENTS, {"time": time.time(), "event": kind, "text": text})
        except OSError:
            with suppress(OSError):
                _end_last_row(self.run_dir / EVENTS)
        self.line(f"{kind}: {text}")

    def num_events(self) -> dict[str, int]:
        """How often each kind of thing happened, over all starts of the run; damaged lines count for nothing."""
        path, counts = self.run_dir / EVENTS, Counter[str]()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
            with suppress(ValueError, KeyError, TypeError):
                counts[str(json.loads(line)["event"])] += 1
        return dict(sorted(counts.items()))

    def line(self, text: str) -> None:
        """Appends a line to run.log, where the disk has room for it."""
        with suppress(OSError), (self.run_dir / "run.log").open("a", encoding="utf-8") as f:
            f.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def sync(self) -> None:
        """Puts metrics, evaluations and rollouts on the disk: a checkpoint of a step must not outlast what it told.

        Raises:
            CheckpointError: the disk is full or fails.
        """
        try:
            for path in sorted({*self._unsynced, *(path.parent for path in self._unsynced)}):
                with suppress(FileNotFoundError):  # somebody needed the room: old samples are missed by nothing here
                    sync(path)
        except OSError as e:
            raise CheckpointError(
                f"metrics and samples of {self.run_dir} cannot be put on the disk: {e.strerror}; no checkpoint is "
                "written without them: free space"
            ) from e
        self._unsynced.clear()

    def write_json(self, name: str, value: Any) -> None:
        """Writes a whole JSON file, atomically."""
        write_whole(self.run_dir / name, json.dumps(_finite(value), indent=2) + "\n")

    def keep_steps(self, stage: str, last_step: int) -> None:
        """Drops what a resumed stage is about to do again: its rows and rollouts after `last_step`."""
        for path in (self.run_dir / METRICS, self.run_dir / EVALUATIONS):
            if path.exists():
                kept = [row for row in read_rows(path) if row["stage"] != stage or row["step"] <= last_step]
                write_whole(path, "".join(json.dumps(row) + "\n" for row in kept))
        for rollouts in (self.run_dir / stage / "rollouts").glob("step-*.parquet"):
            if int(rollouts.stem.removeprefix("step-")) > last_step:
                rollouts.unlink()
                self._unsynced.discard(rollouts)
        for half_written in (self.run_dir / stage / "rollouts").glob("*.tmp"):
            half_written.unlink()

    def rollouts(
        self, stage: str, step: int, groups: Sequence[ScoredGroup], advantages: Sequence[Sequence[float | None]]
    ) -> None:
        """Writes every sample of a step with its scores to `<stage>/rollouts/step-N.parquet`.

        A row's `group` is its task's id. Where few tasks are drawn more than once a step, each later group of a task
        and the samples in it get names of their own: `sum-7@2`, `sum-7@2#0`.
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
        beside = path.with_suffix(".tmp")
        pq.write_table(pa.Table.from_pylist(rows, schema=_rollout_schema(list(groups[0].parts))), beside)
        os.replace(beside, path)
        self._unsynced.add(path)

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        with (self.run_dir / name).open("a", encoding="utf-8") as f:
            f.write(json.dumps(_finite(row)) + "\n")
        self._unsynced.add(self.run_dir / name)


def _finite(value: Any) -> Any:
    """NaN and infinities as null: JSON has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


def as_json(value: Any) -> str:
    """Any evidence as JSON; what JSON cannot say is written as text."""
    return json.dumps(_finite(value), default=repr, ensure_ascii=False)


def _unique(names: Sequence[str]) -> list[str]:
    """The names in their order; one that came before has the least number from 2 on added that makes it new."""
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
