"""Tells every run of this Ray cluster to save and stop, and waits for it; run on the head before its pod goes.

Kubernetes signals a container's first process only, which is not rlkit. The driver gets SIGTERM itself, and not by
`ray job stop`: a run that saves and exits with 130 is a failed job, which KubeRay submits again, a stopped one is over.
"""

import os
import signal
import time

from ray.job_submission import JobDetails, JobSubmissionClient

ENDING_S = 580
"""A little less than the pod's terminationGracePeriodSeconds."""


def main() -> None:
    """Signals the drivers, then waits for the last one."""
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
