"""Inside `ray job submit`: which cluster the run belongs to, and where it must not write."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from rlkit.errors import UsageError


def job_address(environ: Mapping[str, str] = os.environ) -> str | None:
    """Address of the cluster whose job this process is; None: it is none.

    RAY_ADDRESS alone says nothing: on a workstation it is where `ray job submit` sends jobs to.
    """
    return environ.get("RAY_ADDRESS") if "RAY_JOB_CONFIG_JSON_ENV_VAR" in environ else None


def check_address(address: str) -> None:
    """Refuses the address of a Ray Client server.

    Raises:
        UsageError: it is one.
    """
    if address.startswith("ray://"):
        raise UsageError(
            f"cluster.address = {address}: Ray Client cannot stream samples; start rlkit on a node of the cluster with "
            "--address auto, or submit it there with `ray job submit`"
        )


def check_run_dir(run_dir: Path, *, mirrored: bool, environ: Mapping[str, str] = os.environ) -> None:
    """Refuses a run folder that goes when the job ends.

    Raises:
        UsageError: it lies in the job's copy of --working-dir, and nothing copies it elsewhere.
    """
    config = json.loads(environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    copied = bool(config.get("runtime_env", {}).get("working_dir"))
    if copied and not mirrored and run_dir.resolve().is_relative_to(Path.cwd().resolve()):
        raise UsageError(
            f"the run folder {run_dir} lies in the Ray job's copy of --working-dir, which Ray deletes: give a folder "
            "that outlives the job with run.dir or --run-dir, or a place to copy the run to with run.mirror"
        )
