"""The learner's Ray actor and the driver's handle on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from rlkit.cluster import get
from rlkit.learner.learner import Learner, LearnerSpec, UpdateReport
from rlkit.records import Sample, ScoredGroup


class LearnerWorker:
    """The actor's side."""

    learner: Learner

    def start(self, spec: LearnerSpec) -> None:
        """Loads the model. Not in __init__: Ray hides the cause of what fails there."""
        self.learner = Learner(spec)

    def train_step(self, groups: Sequence[ScoredGroup]) -> UpdateReport:
        """See Learner.train_step."""
        return self.learner.train_step(groups)

    def weights(self) -> Any:
        """The weights; as this call's return value they go straight into the object store."""
        return self.learner.weights()

    def logprobs_of(self, samples: Sequence[Sample]) -> list[list[float]]:
        """See Learner.logprobs_of."""
        return self.learner.logprobs_of(samples)

    def save_model(self, out: Path) -> None:
        """See Learner.save_model."""
        self.learner.save_model(out)

    def save_state(self, path: Path) -> None:
        """Writes the learner's state to one file."""
        import torch

        torch.save(self.learner.state_dict(), path)

    def load_state(self, path: Path) -> None:
        """Takes up a state that `save_state` wrote."""
        import torch

        self.learner.load_state_dict(torch.load(path, weights_only=True))


class LearnerGroup:
    """The driver's side: every call has the recipe's deadline."""

    def __init__(self, spec: LearnerSpec, *, start_timeout_s: float) -> None:
        self._timeout_s = spec.keys.timeout_s
        env = {
            "OMP_NUM_THREADS": str(spec.threads),
            "MKL_NUM_THREADS": str(spec.threads),
            "TOKENIZERS_PARALLELISM": "false",
        }
        if spec.deterministic:
            env["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        actor = ray.remote(LearnerWorker).options(num_cpus=0, num_gpus=spec.keys.gpus, runtime_env={"env_vars": env})
        self._worker = actor.remote()
        get(
            self._worker.start.remote(spec), timeout_s=start_timeout_s, what=f"starting the learner ({spec.model_path})"
        )

    def train_step(self, groups: Sequence[ScoredGroup], step: int) -> UpdateReport:
        """One step's updates."""
        report: UpdateReport = self._call("train_step", f"the update of step {step}", groups)
        return report

    def publish(self) -> Any:
        """A Ray reference to the weights; it never passes through the driver."""
        return self._worker.weights.remote()

    def logprobs_of(self, samples: Sequence[Sample]) -> list[list[float]]:
        """The canary's log-probs under the learner's weights."""
        rows: list[list[float]] = self._call("logprobs_of", "the learner's half of the parity gate", samples)
        return rows

    def save_model(self, out: Path) -> None:
        """Writes the model in Hugging Face format."""
        self._call("save_model", f"saving the model to {out}", out)

    def save_state(self, path: Path) -> None:
        """Writes the learner's state."""
        self._call("save_state", f"saving the learner's state to {path}", path)

    def load_state(self, path: Path) -> None:
        """Takes up a saved state."""
        self._call("load_state", f"loading the learner's state from {path}", path)

    def close(self) -> None:
        """Ends the actor."""
        ray.kill(self._worker)

    def _call(self, method: str, what: str, *args: Any) -> Any:
        return get(getattr(self._worker, method).remote(*args), timeout_s=self._timeout_s, what=what)
