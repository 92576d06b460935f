"""`run`, `cluster`, `checkpoint`, `tracking`: where and how a run lives."""

from pydantic import Field

from rlkit.recipe.schema.section import PathText, Section


class Run(Section):
    """What the run is called and what its randomness grows from."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """Name of the run; its folder is `<dir>/<name>`."""
    dir: PathText = Field("runs", min_length=1)
    """Folder that holds the runs."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of everything random: model start, data order, every sample."""
    deterministic: bool = False
    """Make every number of the run, times aside, a function of the recipe alone (same kind of CPU, same versions)."""


class Cluster(Section):
    """Ray: which cluster, and how long to wait for it."""

    address: str | None = None
    """Address of a Ray cluster, seen from one of its nodes (`auto`, `host:6379`); without it a local one starts and
    ends with the run."""
    object_store_mb: int = Field(256, ge=80, le=1_000_000)
    """Shared memory of the local object store, in MiB; it must hold the weights about three times."""
    start_timeout_s: float = Field(300, gt=0)
    """Longest wait for Ray or for one actor to start, in seconds."""
    max_restarts: int = Field(3, ge=0, le=1000)
    """How often a lost rollout worker may be replaced in one RL stage."""
    max_learner_restarts: int = Field(3, ge=0, le=1000)
    """How often a lost learner may be started anew in one RL stage, from the newest checkpoint."""


class Checkpoint(Section):
    """What is kept to continue from."""

    every: int = Field(10, ge=0)
    """Steps between two checkpoints of an RL stage; 0: only when a stage ends or is stopped."""
    every_minutes: float | None = Field(None, gt=0)
    """Also save at the end of the first step that ends this many minutes or more after the newest checkpoint."""
    keep_last: int = Field(2, ge=1)
    """How many of the newest checkpoints stay; older ones go once a newer one is whole."""
    keep_best: int = Field(0, ge=0)
    """How many checkpoints stay besides for the best held-out accuracy; each evaluation inside a stage
    (evaluation.every) that beats one of them is saved. The best one's step is in summary.json."""


class Tracking(Section):
    """What a run writes for people to look at."""

    rollouts_every: int = Field(1, ge=0)
    """Steps between two Parquet files of samples with their scores; 0: none."""
    print_samples: int = Field(0, ge=0, le=100)
    """How many samples of each step, one a group, are written to run.log with their scores."""
