"""`run`, `cluster`, `checkpoint`, `tracking`: the run's folder, its Ray cluster, its checkpoints and its logs."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from rlkit.recipe.schema.section import PathText, Section

OBJECT_STORE_MB = 256
"""Minimum default size of the object store, in MiB."""


class RunKeys(Section):
    """Name, folder, mirror and seed of the run."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """Name of the run; its folder is `<dir>/<name>`."""
    dir: PathText = Field("runs", min_length=1)
    """Folder that holds the runs. On a cluster it must be a folder that all nodes share."""
    mirror: str | None = None
    """Copy the run to this folder while it runs, as `<mirror>/<name>`. Any file system that fsspec supports works
    (`s3://bucket/runs`, `gs://...`, `file:///mnt/shared/runs`); install its package (s3fs, gcsfs, ...) yourself. If the
    mirror holds more of the run than the disk does, rlkit resumes the run from the mirror."""
    mirror_every_s: float = Field(30, gt=0)
    """Seconds between two scans for files to copy to the mirror."""
    mirror_timeout_s: float = Field(1800, gt=0)
    """Deadline for downloading from the mirror at the start, and for the last uploads at the end, in seconds."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of everything random: initial weights, data order, every sample."""
    deterministic: bool = False
    """Make every number of the run except times a function of the recipe alone, on the same kind of CPU and the same
    library versions."""

    @field_validator("mirror")
    @classmethod
    def _check_url(cls, mirror: str | None) -> str | None:
        if mirror is not None and not re.match(r"[a-z][a-z0-9+.-]*://.", mirror):
            raise ValueError(f"{mirror!r} is not a URL such as s3://bucket/runs or file:///mnt/shared/runs")
        return mirror


class ClusterKeys(Section):
    """The Ray cluster: its address, placement of the actors, and deadlines."""

    address: str | None = None
    """Address of a Ray cluster (`auto`, `host:6379`), to be used from one of its nodes. By default the run starts a
    local one and stops it at the end."""
    object_store_mb: int | None = Field(None, ge=80, le=1_000_000)
    """Shared memory of the local object store, in MiB; it must hold the weights about three times. By default that plus
    128, at least 256, limited by the free space of /dev/shm."""
    placement: Literal["apart", "together"] = "apart"
    """Placement of engines and learner ranks. `apart`: each has its own resources. `together`: engine N and rank N
    share a GPU, and the engines sleep during updates (vLLM's sleep mode, level 2, which frees all their GPU memory)."""
    strategy: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"
    """Ray's placement strategy: on few nodes, on many, all on one node, or each on its own node."""
    cpus_per_actor: float = Field(0, ge=0, le=1024)
    """CPUs that Ray reserves for each engine and each learner rank; 0: none. It does not limit threads."""
    start_timeout_s: float = Field(300, gt=0)
    """Deadline for connecting to Ray, for free resources in the cluster, and for the start of an actor, in seconds."""
    max_restarts: int = Field(20, ge=0, le=1000)
    """Maximum number of lost rollout workers that are replaced in one RL stage; a lost node counts as all its
    workers."""
    max_learner_restarts: int = Field(3, ge=0, le=1000)
    """Maximum number of times in one stage that a lost learner is restarted from the newest checkpoint."""

    @property
    def store_mb(self) -> int:
        """Size of the object store, in MiB; its minimum before the plan has chosen one."""
        return self.object_store_mb or OBJECT_STORE_MB


class CheckpointKeys(Section):
    """How often checkpoints are saved and how many are kept."""

    every: int = Field(10, ge=0)
    """Steps (in an SFT stage: optimizer steps) between two checkpoints; 0: only when a stage ends or is stopped. An SFT
    stage's checkpoints are deleted once its model is saved and another stage follows."""
    every_minutes: float | None = Field(None, gt=0)
    """Also save a checkpoint at the end of a step if the newest one is at least this many minutes old."""
    keep_last: int = Field(2, ge=1)
    """Number of newest checkpoints to keep; older ones are deleted once a newer one is complete."""
    keep_best: int = Field(0, ge=0)
    """Number of checkpoints with the best held-out accuracy to keep as well; rlkit saves one after each evaluation
    inside a stage (evaluation.every) that beats one of them."""


class SinkKeys(Section):
    """A metrics sink: a class with a method `log(row)`."""

    plugin: str = Field(min_length=1)
    """`./my_sink.py:Class` beside the recipe, `module:Class`, or an entry point of the group `rlkit.sinks`."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Arguments of its constructor."""


class TrackingKeys(Section):
    """Logs, sample files and metrics sinks."""

    rollouts_every: int = Field(1, ge=0)
    """Steps between two Parquet files of samples with their scores; 0: none."""
    print_samples: int = Field(0, ge=0, le=100)
    """Number of samples per step, at most one per group, that are written to run.log with their scores."""
    sinks: list[SinkKeys] = Field(default_factory=list)
    """Metrics sinks that also get each row of metrics.jsonl."""
    sink_timeout_s: float = Field(30, gt=0)
    """Deadline at the end of a run for the sinks to log the remaining rows, in seconds."""
