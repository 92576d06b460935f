"""Support for runs that `ray job submit` starts: their cluster's address, and a check of their run folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from rlkit.errors import UsageError


def job_address(environ: Mapping[str, str] = os.environ) -> str | None:
    """Address of the cluster that runs this process as a job; None if it is not a Ray job.

    RAY_ADDRESS alone is not enough: on a workstation it is the address that `ray job submit` sends jobs to.
    """
    return environ.get("RAY_ADDRESS") if "RAY_JOB_CONFIG_JSON_ENV_VAR" in environ else None


def check_address(address: str) -> None:
    """Checks that the address is not that of a Ray Client server.

    Raises:
        UsageError: it is.
    """
    if address.startswith("ray://"):
        raise UsageError(
            f"cluster.address = {address}: Ray Client cannot stream samples; start rlkit on a node of the cluster with "
            "--address auto, or submit it there with `ray job submit`"
        )


def check_run_dir(run_dir: Path, *, mirrored: bool, environ: Mapping[str, str] = os.environ) -> None:
    """Checks that the run folder remains when the Ray job ends.

    Raises:
        UsageError: it is in the job's copy of --working-dir, and run.mirror is not set.
    """
    config = json.loads(environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    copied = bool(config.get("runtime_env", {}).get("working_dir"))
    if copied and not mirrored and run_dir.resolve().is_relative_to(Path.cwd().resolve()):
        raise UsageError(
            f"the run folder {run_dir} is in the Ray job's copy of --working-dir, which Ray deletes: set run.dir or "
            "--run-dir to a folder that remains after the job, or run.mirror to a place to copy the run to"
        )
