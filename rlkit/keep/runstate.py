"""The state of a run between its stages, saved in progress.json."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlkit.disk import write_atomically
from rlkit.errors import DataError, RlkitError, UsageError
from rlkit.watch.evaluated import Evaluated, Share


@dataclass
class RunState:
    """State of a run, saved in progress.json after each finished stage."""

    run_dir: Path
    run_id: str
    """Random id, created at the run's first start and stored in its checkpoints."""
    models: list[str]
    """Model folder of each finished stage, relative to the run's folder."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """The resolved recipe of the newest start. A resume compares with this one: users may edit recipe.yaml."""
    provenance: dict[str, dict[str, str]] = field(default_factory=dict)
    """What else the numbers depend on: {"code": hash by reward part or recipe key, "files": hash of the model by recipe
    key, "versions": by library, "machine": keys that the machine chose}. In progress.json it is "made_with"."""
    before: Evaluated | None = None
    """The evaluation that `after` is compared with."""
    before_name: str = "before"
    after: Evaluated | None = None
    """The last evaluation of the last stage's model."""
    seconds: float = 0.0
    """Duration of earlier starts of this run, in seconds."""
    reopened: int = 0
    """How often a finished stage was extended by more steps. A copy with a smaller count is older."""
    heldout: str | None = None
    """Fingerprint of the held-out tasks; None: not read yet."""
    data_may_differ: bool = False
    """Whether this start was allowed to use other data or another order; not saved."""

    def save(self) -> None:
        """Writes progress.json atomically."""
        state = {
            "run": self.run_id,
            "models": self.models,
            "recipe": self.recipe,
            "made_with": self.provenance,
            "before": None if self.before is None else dataclasses.asdict(self.before),
            "after": None if self.after is None else dataclasses.asdict(self.after),
            "before_name": self.before_name,
            "seconds": self.seconds,
            "reopened": self.reopened,
            "heldout": self.heldout,
        }
        write_atomically(self.run_dir / "progress.json", json.dumps(state, indent=2))

    def check_heldout(self, tasks: str) -> None:
        """Checks that the held-out tasks have not changed since the run was started.

        Args:
            tasks: Fingerprint of the held-out tasks.

        Raises:
            DataError: The fingerprint differs, and other data was not allowed.
        """
        if self.heldout not in (None, tasks):
            if not self.data_may_differ:
                raise DataError(
                    f"the held-out tasks have changed since {self.run_dir} was started, so its evaluations cannot be "
                    "compared: restore the data, start a new run, or resume anyway with --allow data"
                )
            self.before = None
        self.heldout = tasks

    def summary(
        self, status: str, steps: int, seconds: Mapping[str, float], events: Mapping[str, int], *, model: bool
    ) -> dict[str, Any]:
        """The content of summary.json.

        Args:
            status: "done", "stopped" or "failed".
            steps: Completed steps of the last stage.
            seconds: Duration of each phase of this start.
            events: Number of events of each kind, over all starts.
            model: Whether the folder `model` contains the model after these steps.
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
    """The error for a run folder that can no longer be written."""
    return RlkitError(
        f"the run folder {run_dir} cannot be written: {error.strerror or error}; its checkpoints are intact: free "
        "space or make it writable, and run the same command again to resume"
    )


def read_state(run_dir: Path) -> RunState:
    """Reads progress.json.

    Raises:
        UsageError: The file is missing, is not JSON or is of an older rlkit.
    """
    path = run_dir / "progress.json"
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        why = "is missing" if isinstance(e, FileNotFoundError) else f"cannot be read ({e})"
        raise UsageError(f"{path} {why}, and without it the run cannot be resumed: set another run.name") from e
    if "recipe" not in raw:
        raise UsageError(f"{path} is of an older rlkit: finish the run with that version, or set another run.name")
    return RunState(
        run_dir,
        raw["run"],
        raw["models"],
        recipe=raw["recipe"],
        provenance=raw.get("made_with", {}),
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
