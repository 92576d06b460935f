"""`run`, `cluster`, `checkpoint`, `tracking`: where and how a run lives."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from rlkit.recipe.schema.section import PathText, Section

OBJECT_STORE_MB = 256
"""Least size of the object store, where the recipe gives none."""


class RunKeys(Section):
    """What the run is called and what its randomness grows from."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """Name of the run; its folder is `<dir>/<name>`."""
    dir: PathText = Field("runs", min_length=1)
    """Folder that holds the runs. On a cluster of several nodes all of them must see it."""
    mirror: str | None = None
    """Where the run is copied to as it goes on: a folder of any file system that fsspec knows (`s3://bucket/runs`,
    `gs://...`, `file:///mnt/shared/runs`); it is `<mirror>/<name>` there. A start that finds the run there and not, or
    less of it, on disk continues it from there. The file system's package (s3fs, gcsfs, ...) is yours to install."""
    mirror_every_s: float = Field(30, gt=0)
    """Seconds between two looks at what is new for the mirror."""
    mirror_timeout_s: float = Field(1800, gt=0)
    """Longest wait for the mirror, in seconds: for what a start fetches from it, and for the rest at a run's end."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of everything random: model start, data order, every sample."""
    deterministic: bool = False
    """Make every number of the run, times aside, a function of the recipe alone (same kind of CPU, same versions)."""

    @field_validator("mirror")
    @classmethod
    def _is_a_url(cls, mirror: str | None) -> str | None:
        if mirror is not None and not re.match(r"[a-z][a-z0-9+.-]*://.", mirror):
            raise ValueError(f"{mirror!r} is no URL such as s3://bucket/runs or file:///mnt/shared/runs")
        return mirror


class ClusterKeys(Section):
    """Ray: which cluster, and how long to wait for it."""

    address: str | None = None
    """Address of a Ray cluster, seen from one of its nodes (`auto`, `host:6379`); without it a local one starts and
    ends with the run."""
    object_store_mb: int | None = Field(None, ge=80, le=1_000_000)
    """Shared memory of the local object store, in MiB; it must hold the weights about three times. Left out: that and
    128 more, at least 256, as far as /dev/shm has room."""
    placement: Literal["apart", "together"] = "apart"
    """Of engines and learner ranks: `apart`, each with resources of its own, or `together`: engine N and rank N share a
    GPU, and the engines sleep (vLLM's sleep mode, level 2: all of their memory is free) while the learner updates."""
    strategy: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"
    """How Ray lays their bundles out: on few nodes, over many, all on one, or each on one of its own."""
    cpus_per_actor: float = Field(0, ge=0, le=1024)
    """CPUs that Ray reserves for each engine and each learner rank; 0: none. It limits no threads."""
    start_timeout_s: float = Field(300, gt=0)
    """Longest wait for Ray, for room in the cluster, or for one actor to start, in seconds."""
    max_restarts: int = Field(20, ge=0, le=1000)
    """How many lost rollout workers may be replaced in one RL stage; a lost node counts as all of its workers."""
    max_learner_restarts: int = Field(3, ge=0, le=1000)
    """How often a lost learner may be started anew in one stage, from the newest checkpoint."""

    @property
    def store_mb(self) -> int:
        """The object store; its least default where nobody filled it in for a model."""
        return self.object_store_mb or OBJECT_STORE_MB


class CheckpointKeys(Section):
    """What is kept to continue from."""

    every: int = Field(10, ge=0)
    """Steps between two checkpoints, in an SFT stage optimizer steps; 0: only when a stage ends or is stopped. The
    checkpoints of an SFT stage go once its model is written and another stage follows it."""
    every_minutes: float | None = Field(None, gt=0)
    """Also save at the end of the first step that ends this many minutes or more after the newest checkpoint."""
    keep_last: int = Field(2, ge=1)
    """How many of the newest checkpoints stay; older ones go once a newer one is whole."""
    keep_best: int = Field(0, ge=0)
    """How many checkpoints stay besides for the best held-out accuracy; each evaluation inside a stage
    (evaluation.every) that beats one of them is saved."""


class SinkKeys(Section):
    """A metrics sink: a class with a method `log(row)`."""

    plugin: str = Field(min_length=1)
    """`./my_sink.py:Class` beside the recipe, `module:Class`, or an entry point of the group `rlkit.sinks`."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Of its constructor."""


class TrackingKeys(Section):
    """What a run writes for people to look at."""

    rollouts_every: int = Field(1, ge=0)
    """Steps between two Parquet files of samples with their scores; 0: none."""
    print_samples: int = Field(0, ge=0, le=100)
    """How many samples of each step, one a group, are written to run.log with their scores."""
    sinks: list[SinkKeys] = Field(default_factory=list)
    """Where each row of metrics.jsonl goes besides."""
    sink_timeout_s: float = Field(30, gt=0)
    """Longest wait at a run's end for the sinks to take the rows that are left, in seconds."""
