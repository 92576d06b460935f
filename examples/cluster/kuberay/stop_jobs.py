"""Stops all runs of this Ray cluster with SIGTERM, so that they save, and waits for their end.

Runs on the head node before Kubernetes deletes its pod. Kubernetes signals only the first process of a container, which
is not rlkit. This sends SIGTERM to the drivers itself instead of calling `ray job stop`: a run that saves and exits
with 130 counts as a failed job, which KubeRay submits again, while a stopped job is finished.
"""

import os
import signal
import time

from ray.job_submission import JobDetails, JobSubmissionClient

ENDING_S = 580
"""A little less than the pod's terminationGracePeriodSeconds."""


def main() -> None:
    """Signals all drivers, then waits until they have exited."""
    client = JobSubmissionClient(os.environ.get("RAY_DASHBOARD", "http://127.0.0.1:8265"))
    running = [job for job in client.list_jobs() if job.driver_info is not None and not job.status.is_terminal()]
    for job in running:
        os.kill(int(job.driver_info.pid), signal.SIGTERM)
    deadline = time.monotonic() + ENDING_S
    while not all(_ended(client, job) for job in running) and time.monotonic() < deadline:
        time.sleep(1)


def _ended(client: JobSubmissionClient, job: JobDetails) -> bool:
    return client.get_job_status(job.submission_id).is_terminal()


if __name__ == "__main__":
    main()
