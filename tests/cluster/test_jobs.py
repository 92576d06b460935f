"""`ray job submit ... -- rlkit train`: on a real cluster with a dashboard, on this machine."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
import ray

from rlkit.cluster.jobs import check_run_dir, job_address
from rlkit.errors import UsageError
from rlkit.keep.checkpoint import list_checkpoints
from rlkit.watch.runlog import read_rows
from tests.cluster.conftest import RLKIT, metrics, numbers, weights, write_tiny_recipe

IN_JOB = {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": {"working_dir": "gcs://_ray_pkg_1.zip"}})}
RAY = [str(Path(sys.executable).with_name("ray"))]
GRACE = json.dumps({"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "200"}})
TIMEOUT_S = 240
ENVIRON = os.environ | {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONUNBUFFERED": "1",
}
ENVIRON.pop("RAY_ADDRESS", None)


def test_only_inside_a_job_is_the_cluster_taken_from_the_environment():
    assert job_address({"RAY_ADDRESS": "http://head:8265"}) is None
    assert job_address({}) is None
    assert job_address({"RAY_ADDRESS": "10.0.0.1:6379", **IN_JOB}) == "10.0.0.1:6379"


def test_a_run_folder_that_goes_with_the_job_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"run\.mirror"):
        check_run_dir(Path("runs/a"), mirrored=False, environ=IN_JOB)
    check_run_dir(Path("runs/a"), mirrored=True, environ=IN_JOB)
    check_run_dir(Path("/elsewhere/runs/a"), mirrored=False, environ=IN_JOB)
    check_run_dir(Path("runs/a"), mirrored=False, environ={"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"})
    check_run_dir(Path("runs/a"), mirrored=False, environ={})


@pytest.fixture(scope="module")
def cluster():
    """The dashboard's address of a cluster of one node."""
    folder = tempfile.mkdtemp(dir="/tmp", prefix="rj")  # short: a socket's path may have 107 bytes
    ports = free_ports(4)
    names = ("port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port")
    options = [f"--{name}={port}" for name, port in zip(names, ports, strict=True)]
    options += ["--min-worker-port=0", "--max-worker-port=0", "--object-store-memory=150000000"]
    head = subprocess.Popen(
        [*RAY, "start", "--head", "--block", f"--temp-dir={folder}", *options],
        start_new_session=True,
        env=ENVIRON,
        stdout=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{ports[1]}"
    try:
        wait_for(lambda: head.poll() is not None or answers(f"{address}/api/version"), "the dashboard")
        yield address
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True  # it wants the cluster's token, which `ray job` finds
    except OSError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_for(condition, what: str):
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.1)


def job(verb: str, address: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*RAY, "job", verb, "--address", address, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=ENVIRON)


def submit(address: str, name: str, folder: Path, *words: str, wait: bool = True) -> subprocess.CompletedProcess[str]:
    options = ["--submission-id", name, "--working-dir", str(folder), "--runtime-env-json", GRACE]
    return job("submit", address, *([] if wait else ["--no-wait"]), *options, "--", *RLKIT, "train", *words)


def stop_job(address: str, name: str, word: str) -> None:
    """`ray job stop`, which takes longer to start than a few steps take: the driver waits for it."""
    (driver,) = (p for p in psutil.process_iter(["cmdline"]) if is_driver(p.info["cmdline"] or [], word))
    driver.suspend()
    command = [*RAY, "job", "stop", "--address", address, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRON) as stopping:
        assert stopping.stdout is not None
        assert any("Waiting for job" in line for line in stopping.stdout)
        driver.resume()
        stopping.stdout.read()
        assert stopping.wait(TIMEOUT_S) == 0


def is_driver(words: list[str], word: str) -> bool:
    return words[1:3] == RLKIT[1:] and words[3:4] == ["train"] and any(word in w for w in words)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_is_stopped_and_the_next_one_ends_the_run_as_if_nothing_had_happened(
    cluster, tiny_model, whole_run, tmp_path
):
    folder, runs = tmp_path / "work", tmp_path / "runs"
    folder.mkdir()
    write_tiny_recipe(folder, tiny_model)
    started = submit(cluster, "first", folder, "tiny.yaml", f"run.dir={runs}", wait=False)
    assert started.returncode == 0, started.stderr + started.stdout
    wait_for(lambda: any(row["stage"].startswith("stage-1-") for row in metrics(runs / "tiny")), "a step")
    stop_job(cluster, "first", str(runs))
    assert "'first' was stopped" in job("status", cluster, "first").stdout
    stopped_after = max(row["step"] for row in metrics(runs / "tiny") if row["stage"] == "stage-1-grpo")
    assert stopped_after < 5, "the run was over before it was stopped"
    assert list_checkpoints(runs / "tiny/stage-1-grpo/checkpoints")[-1].step == stopped_after
    assert json.loads((runs / "tiny/summary.json").read_text())["status"] == "stopped"
    logs = job("logs", cluster, "first").stdout
    assert "stage-1-grpo 1/5" in logs
    assert "stopped; run the same command again" in logs

    ended = submit(cluster, "second", folder, "tiny.yaml", f"run.dir={runs}")
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert "the model is in" in ended.stdout
    assert "resume" in [row["event"] for row in read_rows(runs / "tiny/events.jsonl")]
    assert numbers(runs / "tiny") == numbers(whole_run)
    ours, theirs = weights(runs / "tiny"), weights(whole_run)
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    assert "starting Ray" in ended.stdout
    assert ray.is_initialized() is False


@pytest.mark.slow
def test_a_run_that_fails_is_a_failed_job(cluster, tiny_model, tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    write_tiny_recipe(folder, tiny_model)
    (folder / "broken.py").write_text(
        "class Broken:\n    def score(self, group):\n        raise ValueError('broken')\n"
    )
    words = ("tiny.yaml", f"run.dir={tmp_path}", "run.name=failed", "reward.broken.plugin=./broken.py:Broken")
    done = submit(cluster, "failing", folder, *words, "reward.broken.weight=1")
    assert done.returncode == 1
    assert "broken" in done.stdout
    assert "'failing' failed" in job("status", cluster, "failing").stdout

    inside = submit(cluster, "inside", folder, "tiny.yaml")
    assert inside.returncode == 1
    assert "copy of --working-dir" in inside.stdout
