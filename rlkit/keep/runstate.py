"""How far a run has come: which stages are done, and whether a folder is to be continued."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlkit.disk import write_whole
from rlkit.errors import DataError, RlkitError, UsageError
from rlkit.watch.evaluated import Evaluated, Share


@dataclass
class RunState:
    """Kept in `progress.json`, written after each finished stage."""

    run_dir: Path
    run_id: str
    """Made once, at the run's first start; its checkpoints carry it."""
    models: list[str]
    """Model folder of each finished stage, below the run's folder."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """The resolved recipe of the newest start; recipe.yaml, which says the same, is for people and may be edited."""
    made_with: dict[str, dict[str, str]] = field(default_factory=dict)
    """What the newest start was made with: {"code": hash by reward part or recipe key, "files": of model folders by
    recipe key, "versions": by library, "machine": what it chose}."""
    before: Evaluated | None = None
    """The evaluation that "after" is compared with."""
    before_name: str = "before"
    after: Evaluated | None = None
    """The last evaluation of the last stage's model."""
    seconds: float = 0.0
    """Time spent by earlier starts of this run."""
    reopened: int = 0
    """How often a finished stage was made longer: a copy from before that is behind, though its stage is done."""
    heldout: str | None = None
    """Fingerprint of the held-out tasks; None: not read yet."""
    data_may_differ: bool = False
    """Whether this start was allowed to go on with other data, or in another order; not saved."""

    def save(self) -> None:
        """Writes progress.json, atomically."""
        state = {
            "run": self.run_id,
            "models": self.models,
            "recipe": self.recipe,
            "made_with": self.made_with,
            "before": None if self.before is None else dataclasses.asdict(self.before),
            "after": None if self.after is None else dataclasses.asdict(self.after),
            "before_name": self.before_name,
            "seconds": self.seconds,
            "reopened": self.reopened,
            "heldout": self.heldout,
        }
        write_whole(self.run_dir / "progress.json", json.dumps(state, indent=2))

    def check_heldout(self, tasks: str) -> None:
        """Checks that the run still evaluates on the tasks that it began with.

        Raises:
            DataError: the fingerprint is another one.
        """
        if self.heldout not in (None, tasks):
            if not self.data_may_differ:
                raise DataError(
                    f"the held-out tasks have changed since {self.run_dir} was started: its evaluations would not "
                    "compare; put the data back, start a new run, or go on all the same with --allow data"
                )
            self.before = None
        self.heldout = tasks

    def summary(
        self, status: str, steps: int, seconds: Mapping[str, float], events: Mapping[str, int], *, model: bool
    ) -> dict[str, Any]:
        """What summary.json says.

        Args:
            status: "done", "stopped" or "failed".
            steps: The last stage's, so far.
            seconds: Of this start, by phase.
            events: What happened, of all starts: how often each kind.
            model: Whether the folder `model` is of these steps; an older one is not told of.
        """
        before, after = self.before, self.after
        return {
            "status": status,
            "steps": steps,
            "policy_version": steps,
            "before": None if before is None else before.summary(),
            "after": None if after is None else after.summary(),
            "reward_before": None if before is None else before.parts,
            "reward_after": None if after is None else after.parts,
            "seconds": {"total": self.seconds, **seconds},
            "events": dict(events),
            "model": "model/" if model else None,
        }


def unwritable(run_dir: Path, error: OSError) -> RlkitError:
    """What ends a run whose folder cannot be written any more."""
    return RlkitError(
        f"the run folder {run_dir} cannot be written: {error.strerror or error}; its checkpoints are whole: free space "
        "or make it writable, and run the same command again to continue"
    )


def read_state(run_dir: Path) -> RunState:
    """The state that was saved last.

    Raises:
        UsageError: it is not there or no JSON.
    """
    path = run_dir / "progress.json"
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        why = "is not there" if isinstance(e, FileNotFoundError) else f"cannot be read ({e})"
        raise UsageError(f"{path} {why}, and nothing else says how far the run is: give another run.name") from e
    if "recipe" not in raw:
        raise UsageError(f"{path} is of an older rlkit: end the run with that one, or give another run.name")
    return RunState(
        run_dir,
        raw["run"],
        raw["models"],
        recipe=raw["recipe"],
        made_with=raw.get("made_with", {}),
        before=_evaluated(raw.get("before")),
        before_name=raw.get("before_name", "before"),
        after=_evaluated(raw.get("after")),
        seconds=raw.get("seconds", 0.0),
        reopened=raw.get("reopened", 0),
        heldout=raw.get("heldout"),
    )


def _evaluated(raw: dict[str, Any] | None) -> Evaluated | None:
    if raw is None:
        return None
    shares = {k: None if raw[k] is None else Share(**raw[k]) for k in ("sampled", "greedy")}
    return Evaluated(**(raw | shares))
