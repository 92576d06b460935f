"""Where in a run a moment lies, told from outside: by the files it has written and by what its actors are at."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.watch.runlog import read_rows

STEPS, EVALUATE_EVERY, KEEP_LAST, KEEP_BEST = 8, 3, 2, 1
"""Of the runs: RL steps, steps between evaluations, and the checkpoints that stay."""
NOTHING: Mapping[Path, int] = {}
SYNC = frozenset(
    {"LearnerWorker.weights", "LearnerWorker.ready", "LearnerWorker.logprobs_of"}
    | {"RolloutWorker.load", "RolloutWorker.draw_all"}
)
SFT = frozenset({"OfflineWorker.run_sft", "OfflineWorker.news", "OfflineWorker"})
"""Its two threads write their titles by turns."""
DRAW = frozenset({"RolloutWorker.draw"})
SCORE = frozenset({"_Actor.score"})


@dataclass(frozen=True)
class Aim:
    """How the moment of a phase is found."""

    files: str = ""
    """A pattern over `notify.Happened`; the phase begins with what it matches."""
    titles: Collection[str] = ()
    """Or: the phase is while an actor is at one of these."""
    evaluating: bool | None = None
    """Only (or only not) while an evaluation is due."""
    spread_s: float = 0.002
    """The kill comes at a random time, up to so long after the phase began; where there are titles it is measured."""

    def begins(self, run_dir: Path, happened: Collection[str], titles: Collection[str]) -> bool:
        """Whether the phase is on, given what has just happened and what the actors are at."""
        if self.files:
            return any(re.search(self.files, text) for text in happened)
        if not any(title in self.titles for title in titles):
            return False
        return self.evaluating is None or self.evaluating == evaluation_is_due(run_dir)


SFT_AIMS = {
    "actors start": Aim(titles={"RolloutWorker.start", "LearnerWorker.start"}, spread_s=1.0),
    "sft": Aim(titles=SFT, spread_s=2.0),
    "sft save": Aim(r"created stage-0-sft/(trainer/checkpoint-\d+|checkpoints/\.step-\d+\.\w+\.tmp)$", spread_s=0.03),
    "sft model": Aim(r"created stage-0-sft/model$", spread_s=0.05),
    "between stages": Aim(r"deleted stage-0-sft/checkpoints$", spread_s=3.0),
}
RL_AIMS = {
    "resume": Aim(titles={"LearnerWorker.load_state"}, spread_s=0.005),
    "sampling": Aim(titles=DRAW, evaluating=False, spread_s=0.3),
    "scoring": Aim(titles=SCORE, evaluating=False, spread_s=0.1),
    "update": Aim(titles={"LearnerWorker.train_step"}, spread_s=0.3),
    "sync": Aim(titles=SYNC, spread_s=0.1),
    "evaluation": Aim(titles=DRAW | SCORE, evaluating=True, spread_s=0.3),
    "metrics": Aim(r"written metrics\.jsonl$"),
    "rollouts": Aim(r"created stage-1-\w+/rollouts/step-\d+\.tmp$"),
    "save": Aim(r"created stage-1-\w+/checkpoints/\.step-\d+\.\w+\.tmp$", spread_s=0.05),
    "seal": Aim(r"created stage-1-\w+/checkpoints/\.step-\d+\.\w+\.tmp/(state|manifest)\.json$"),
    "prune": Aim(r"renamed stage-1-\w+/checkpoints/\.step-\d+\.old\.tmp$"),
    "evaluations": Aim(r"written evaluations\.jsonl$"),
}
ANY_AIMS = {"start": Aim(spread_s=8.0), "progress": Aim(r"created progress\.json\.tmp$")}
"""At any start of the command; "start" begins with it and lasts until the first actor is there."""
LATE_AIMS = {
    "model": Aim(r"created model(/|$)", spread_s=0.01),
    "summary": Aim(r"created summary\.json\.tmp$", spread_s=0.0005),
}
AIMS = SFT_AIMS | RL_AIMS | ANY_AIMS | LATE_AIMS
WORK = DRAW | SFT | {"LearnerWorker.train_step"}
"""What an actor is at once a run goes on."""


def rl_step(run_dir: Path) -> int:
    """The last step of stage 1 that has metrics; 0: none."""
    return max((row["step"] for row in _rows(run_dir, "metrics.jsonl") if row["stage"] != "stage-0-sft"), default=0)


def sft_is_done(run_dir: Path) -> bool:
    """Whether stage 1 is what comes next."""
    return bool(_progress(run_dir).get("models"))


def evaluation_is_due(run_dir: Path) -> bool:
    """Whether what is drawn now is drawn for an evaluation: before the first step, inside the stage, after the last."""
    step = rl_step(run_dir)
    if step == 0:
        return _progress(run_dir).get("before") is None
    done = {row["step"] for row in _rows(run_dir, "evaluations.jsonl")}
    return step == STEPS or (step % EVALUATE_EVERY == 0 and step not in done)


def half_written(run_dir: Path) -> dict[Path, int]:
    """Everything that is written, or deleted, beside its place; with the number that tells it from one made later."""
    found = {}
    for path in (*run_dir.rglob("*.tmp"), *run_dir.glob("stage-0-sft/trainer/checkpoint-*")):
        with suppress(FileNotFoundError):  # where only the driver stands still
            found[path] = path.stat().st_ino
    return found


def phase_of(run_dir: Path, titles: Collection[str], *, has_worked: bool, left: Mapping[Path, int] = NOTHING) -> str:
    """The phase that a frozen run is in: what its files say it is writing, else what its actors are at.

    Args:
        run_dir: Its folder.
        titles: Of its actors.
        has_worked: Whether an actor has been at WORK since the command was given.
        left: What was half written before that.
    """
    beside = [path for path, number in half_written(run_dir).items() if left.get(path) != number]
    return _being_written(run_dir, beside) or _at_work(run_dir, titles) or _between(run_dir, has_worked)


def _being_written(run_dir: Path, beside: Collection[Path]) -> str:
    if any(path.name.endswith(".old.tmp") for path in beside):
        return "prune"
    for pattern, phase in (
        (r"^stage-0", "sft save"),
        (r"^stage-1-\w+/checkpoints/", "save"),
        (r"^stage-1-\w+/rollouts/", "rollouts"),
        (r"^progress", "progress"),
        (r"^summary", "summary"),
        (r"^(metrics|evaluations)", "resume"),
        (r"", "start"),
    ):
        if any(re.search(pattern, str(path.relative_to(run_dir))) for path in beside):
            return phase
    return ""


def _at_work(run_dir: Path, titles: Collection[str]) -> str:
    at = set(titles)
    if at & SFT:
        return "sft model" if (run_dir / "stage-0-sft" / "model").exists() else "sft"
    if "LearnerWorker.save_model" in at:
        return "model"
    if "LearnerWorker.load_state" in at:
        return "resume"
    if "LearnerWorker.train_step" in at:
        return "update"
    if at & SYNC:
        return "sync"
    if at & (DRAW | SCORE):
        return "evaluation" if evaluation_is_due(run_dir) else "scoring" if at & SCORE else "sampling"
    starting = any(title.endswith((".start", ".__init__", ".open_meeting", ".ready")) for title in at)
    return "actors start" if starting else ""


def _between(run_dir: Path, has_worked: bool) -> str:
    """No file half written and no actor at work: the driver's own work, or the start."""
    if not has_worked:
        return "start"
    step = rl_step(run_dir)
    if step and not [*run_dir.glob(f"stage-1-*/rollouts/step-{step:06d}.parquet")]:
        return "metrics"
    if (run_dir / "summary.json").exists() or (run_dir / "model").exists():
        return "end"
    if step == 0 and sft_is_done(run_dir):
        return "between stages"
    return "between calls"


def _rows(run_dir: Path, name: str) -> list[dict[str, Any]]:
    return read_rows(run_dir / name)


def _progress(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "progress.json"
    return json.loads(path.read_text()) if path.exists() else {}
