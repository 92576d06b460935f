"""Numbers of a step, computed from records in one place, and the folder a run leaves behind."""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlkit.records import Sample, Score, ScoredGroup


class PhaseTimer:
    """Wall-clock seconds by phase: `with timer("sample"): ...`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Adds the time of the block to the phase."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.monotonic() - began

    def metrics(self) -> dict[str, float]:
        """As `time/<phase>`, with the sum as `time/step`."""
        figures = {f"time/{phase}": seconds for phase, seconds in self.seconds.items()}
        return figures | {"time/step": sum(self.seconds.values())}


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; NaN of nothing."""
    return math.fsum(values) / len(values) if values else math.nan


def is_right(score: Score) -> bool:
    """Whether the accuracy part found the reply fully right."""
    return score.value is not None and score.value >= 1.0


def accuracy(groups: Sequence[ScoredGroup]) -> float:
    """Share of fully right replies among the graded ones; NaN where the recipe has no accuracy part."""
    graded = [s for g in groups for s in g.parts.get("accuracy", ()) if s.value is not None]
    return mean([float(is_right(s)) for s in graded])


def part_means(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Mean value of each part over the samples it graded."""
    names = list(groups[0].parts) if groups else []
    return {n: mean([s.value for g in groups for s in g.parts[n] if s.value is not None]) for n in names}


def reward_metrics(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """A step's reward, its parts with spread, verdict counts and time, lengths and what could not be graded.

    `time/reward/<part>` is what the part's plugin took for all groups, in seconds of one process.
    """
    rewards = [r for g in groups for r in g.rewards if r is not None]
    samples = [s for g in groups for s in g.samples]
    total = mean(rewards)
    metrics = {
        "reward/total": total,
        "reward/total_std": _std(rewards),
        "accuracy": accuracy(groups),
        "samples": float(len(samples)),
        "samples/unscored": float(len(samples) - len(rewards)),
        "samples/cut_at_max_tokens": mean([float(s.finish_reason == "length") for s in samples]),
        "samples/tokens": float(sum(s.num_tokens for s in samples)),
        "samples/tokens_mean": mean([float(s.num_tokens) for s in samples]),
    }
    for name, value in part_means(groups).items():
        metrics[f"reward/{name}"] = value
        metrics |= _spread_metrics(groups, name)
        verdicts = Counter(s.verdict for g in groups for s in g.parts[name] if s.verdict)
        metrics |= {f"verdicts/{name}/{verdict}": float(n) for verdict, n in sorted(verdicts.items())}
        metrics[f"time/reward/{name}"] = math.fsum(g.seconds.get(name, 0.0) for g in groups)
    return metrics | _code_metrics(groups)


def _spread_metrics(groups: Sequence[ScoredGroup], name: str) -> dict[str, float]:
    """A part's spread, how many samples it failed on, and its correlation with accuracy: a part that rises while that
    falls is being gamed. NaN where one of the two does not vary."""
    scores = [s for g in groups for s in g.parts[name]]
    values = [s.value for s in scores if s.value is not None]
    figures = {f"reward/{name}_std": _std(values), f"failed/{name}": float(len(scores) - len(values))}
    if name == "accuracy" or not all("accuracy" in g.parts for g in groups):
        return figures
    right = [s.value for g in groups for s in g.parts["accuracy"]]
    pairs = [(s.value, r) for s, r in zip(scores, right, strict=True) if s.value is not None and r is not None]
    return figures | {f"with_accuracy/{name}": _correlation(pairs)}


def _std(values: Sequence[float]) -> float:
    middle = mean(values)
    return math.sqrt(mean([(value - middle) ** 2 for value in values])) if values else math.nan


def _correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Pearson's; NaN where a side does not vary. [(0, 1), (1, 3), (2, 5)] -> 1"""
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    spread = _std(a) * _std(b)
    if not pairs or not spread > 1e-12:
        return math.nan
    return mean([(x - mean(a)) * (y - mean(b)) for x, y in pairs]) / spread


def _code_metrics(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Hidden tests, which the reward does not see: where their share falls behind, tests are being gamed."""
    hidden = [found["hidden"] for found in _evidence(groups) if "hidden" in found]
    total = sum(int(counts["total"]) for counts in hidden)
    return {"code/hidden_passed": sum(int(counts["passed"]) for counts in hidden) / total} if total else {}


def sandbox_tiers(groups: Sequence[ScoredGroup]) -> list[str]:
    """How the programs in these groups were isolated."""
    return sorted({str(found["tier"]) for found in _evidence(groups) if found.get("tier")})


def _evidence(groups: Sequence[ScoredGroup]) -> list[Mapping[str, Any]]:
    """What the accuracy part says it rests on, a mapping for each sample that has one."""
    scores = [score for group in groups for score in group.parts.get("accuracy", ())]
    return [score.evidence for score in scores if isinstance(score.evidence, Mapping)]


def write_whole(path: Path, text: str) -> None:
    """Writes a file that is at any moment either the old one or the new one."""
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines; a last line that a kill cut off is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


class RunLog:
    """Writes metrics.jsonl, events.jsonl, run.log, rollouts and summary.json of one run folder."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.began = time.time()
        run_dir.mkdir(parents=True, exist_ok=True)

    def step(self, row: Mapping[str, Any]) -> None:
        """Appends one step's metrics."""
        self._append("metrics.jsonl", row)

    def evaluation(self, row: Mapping[str, Any]) -> None:
        """Appends what an evaluation inside a stage found, to evaluations.jsonl."""
        self._append("evaluations.jsonl", row)

    def evaluations(self, stage: str) -> list[dict[str, Any]]:
        """What `evaluation` wrote of a stage."""
        return [row for row in read_rows(self.run_dir / "evaluations.jsonl") if row["stage"] == stage]

    def event(self, kind: str, text: str) -> None:
        """Appends something that happened: a replaced worker, a checkpoint, the end."""
        self._append("events.jsonl", {"time": time.time(), "event": kind, "text": text})
        self.line(f"{kind}: {text}")

    def line(self, text: str) -> None:
        """Appends a line to run.log."""
        with (self.run_dir / "run.log").open("a", encoding="utf-8") as f:
            f.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def write_json(self, name: str, value: Any) -> None:
        """Writes a whole JSON file, atomically."""
        write_whole(self.run_dir / name, json.dumps(_finite(value), indent=2) + "\n")

    def keep_steps(self, stage: str, last_step: int) -> None:
        """Drops what a resumed stage is about to do again: its rows and rollouts after `last_step`."""
        for path in (self.run_dir / "metrics.jsonl", self.run_dir / "evaluations.jsonl"):
            if path.exists():
                kept = [row for row in read_rows(path) if row["stage"] != stage or row["step"] <= last_step]
                write_whole(path, "".join(json.dumps(row) + "\n" for row in kept))
        for rollouts in (self.run_dir / stage / "rollouts").glob("step-*.parquet"):
            if int(rollouts.stem.removeprefix("step-")) > last_step:
                rollouts.unlink()

    def rollouts(
        self, stage: str, step: int, groups: Sequence[ScoredGroup], advantages: Sequence[Sequence[float | None]]
    ) -> None:
        """Writes every sample of a step with its scores to `<stage>/rollouts/step-N.parquet`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [
            _sample_row(group, i, sample, group_advantages[i])
            for group, group_advantages in zip(groups, advantages, strict=True)
            for i, sample in enumerate(group.samples)
        ]
        path = self.run_dir / stage / "rollouts" / f"step-{step:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".tmp")
        pq.write_table(pa.Table.from_pylist(rows, schema=_rollout_schema(list(groups[0].parts))), beside)
        os.replace(beside, path)

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        with (self.run_dir / name).open("a", encoding="utf-8") as f:
            f.write(json.dumps(_finite(row)) + "\n")


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


def _sample_row(group: ScoredGroup, i: int, sample: Sample, advantage: float | None) -> dict[str, Any]:
    reference = group.task.reference
    return {
        "id": sample.id,
        "kind": group.task.kind,
        "prompt": group.task.prompt,
        "response": sample.response,
        "reference": reference if isinstance(reference, str) else as_json(reference),
        "num_tokens": sample.num_tokens,
        "group": group.task.id,
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
        "prompt_ids": sample.prompt_ids,
        "token_ids": sample.token_ids,
        "logprobs": sample.logprobs,
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
    text = {n: pa.string() for n in ("id", "kind", "prompt", "response", "reference", "group", "finish_reason")}
    return pa.schema(
        [
            *((n, text[n]) for n in ("id", "kind", "prompt", "response", "reference")),
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
