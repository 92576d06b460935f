"""Whether a run that was killed and continued is the uninterrupted one: every number of it, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from rlkit.watch.runlog import read_rows
from tests.cluster.conftest import numbers, weights


def differences(run_dir: Path, whole: Path) -> list[str]:
    """What differs between two finished runs, times left out, and what a kill left behind in the first."""
    found = []
    (rows, rollouts), (whole_rows, whole_rollouts) = numbers(run_dir), numbers(whole)
    if rows != whole_rows:
        steps = [(row["stage"], row["step"]) for row in rows]
        whole_steps = [(row["stage"], row["step"]) for row in whole_rows]
        differing = [s for s, a, b in zip(steps, rows, whole_rows, strict=False) if a != b]
        found.append(f"metrics: steps {steps}" if steps != whole_steps else f"metrics of {differing}")
    if rollouts != whole_rollouts:
        names = sorted(rollouts.keys() ^ whole_rollouts.keys())
        found.append(f"rollouts: {names or [n for n in rollouts if rollouts[n] != whole_rollouts[n]]}")
    if _evaluations(run_dir) != _evaluations(whole):
        found.append(f"evaluations: {_evaluations(run_dir)} instead of {_evaluations(whole)}")
    if _summary(run_dir) != _summary(whole):
        found.append(f"summary: {_summary(run_dir)} instead of {_summary(whole)}")
    ours, theirs = weights(run_dir), weights(whole)
    if ours.keys() != theirs.keys() or not all(_same_bits(ours[name], theirs[name]) for name in theirs):
        found.append("weights")
    if _files(run_dir) != _files(whole):
        found.append(f"files: {sorted(_files(run_dir) ^ _files(whole))}")
    return found + _unreadable(run_dir)


def _same_bits(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Also of NaNs and of the two zeros."""
    same_kind = ours.dtype == theirs.dtype and ours.shape == theirs.shape
    return same_kind and torch.equal(ours.contiguous().view(torch.uint8), theirs.contiguous().view(torch.uint8))


def _evaluations(run_dir: Path) -> list[object]:
    return list(read_rows(run_dir / "evaluations.jsonl"))


def _summary(run_dir: Path) -> dict[str, object]:
    summary = json.loads((run_dir / "summary.json").read_text())
    return {key: value for key, value in summary.items() if key not in ("seconds", "events")}


def _files(run_dir: Path) -> set[str]:
    """The names of everything in the folder: nothing half written may stay, and no checkpoint too many or too few."""
    return {str(path.relative_to(run_dir)) for path in run_dir.rglob("*")}


def _unreadable(run_dir: Path) -> list[str]:
    """Files of JSON lines with a line that a kill cut off and the next start wrote on."""
    found = []
    for path in run_dir.glob("*.jsonl"):
        try:
            [json.loads(line) for line in path.read_text().splitlines()]
        except ValueError as e:
            found.append(f"{path.name}: {e}")
    return found
