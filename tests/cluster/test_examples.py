"""What examples/cluster/ says is true of this version of rlkit; its Slurm script runs, with stand-ins for Slurm."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from rlkit.cli.main import main
from rlkit.recipe.load import load_recipe
from tests.cluster.conftest import metrics, numbers, weights

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples/cluster"
IMAGE_ROOT = "/opt/rlkit"
QUICKSTART = ROOT / "recipes/quickstart.yaml"


def rayjob() -> dict:
    docs = list(yaml.safe_load_all((EXAMPLES / "kuberay/rayjob.yaml").read_text()))
    assert [doc["kind"] for doc in docs] == ["PersistentVolumeClaim", "RayJob"]
    return docs[1]["spec"]


def test_the_rayjobs_command_is_a_valid_one(capsys):
    words = shlex.split(rayjob()["entrypoint"].replace(IMAGE_ROOT, str(ROOT)))
    assert words[:2] == ["rlkit", "train"]
    assert main(["plan", *words[2:], "cluster.address=auto"]) == 0
    assert "rollout-0 " in capsys.readouterr().out


def test_the_rayjob_fits_its_own_cluster_and_this_version():
    spec = rayjob()
    cluster = spec["rayClusterSpec"]
    assert f"ray=={cluster['rayVersion']}" in (ROOT / "requirements/cpu.txt").read_text().split()
    words = shlex.split(spec["entrypoint"])
    recipe = load_recipe(Path(words[2].replace(IMAGE_ROOT, str(ROOT))), words[3:]).recipe
    (workers,) = cluster["workerGroupSpecs"]
    (worker,) = workers["template"]["spec"]["containers"]
    limits = worker["resources"]["limits"]
    nodes = workers["replicas"]
    actors = recipe.rollout.num_engines + recipe.learner.num_workers
    gpus = recipe.rollout.num_engines * recipe.rollout.gpus + recipe.learner.num_workers * recipe.learner.gpus
    assert gpus == nodes * int(limits["nvidia.com/gpu"])
    assert actors * recipe.cluster.cpus_per_actor <= nodes * int(limits["cpu"])
    for group in (cluster["headGroupSpec"], workers):
        pod = group["template"]["spec"]
        assert {m["name"] for c in pod["containers"] for m in c["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    head = cluster["headGroupSpec"]["template"]["spec"]
    stop_wait = int(yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"])
    ending = int(re.search(r"^ENDING_S = (\d+)", (EXAMPLES / "kuberay/stop_jobs.py").read_text(), re.M)[1])
    assert stop_wait < head["terminationGracePeriodSeconds"]
    assert ending < head["terminationGracePeriodSeconds"]
    hook = head["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert (ROOT / Path(hook[1]).relative_to(IMAGE_ROOT)).is_file()


def test_the_page_names_keys_options_and_files_that_exist(capsys):
    pages = (ROOT / "docs/cluster.md", EXAMPLES / "README.md", EXAMPLES / "slurm/train.sbatch")
    text = "\n".join(page.read_text() for page in pages)
    assert main(["train", "--help"]) == 0
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert {"--address", "--resume"} <= options
    keys = set(re.findall(r"`((?:run|cluster|rollout|learner|checkpoint)\.[a-z_.]+)[:`]", text))
    assert len(keys) > 10
    resolved = load_recipe(QUICKSTART).resolved
    for key in keys - {"rollout.engine.gpu_memory_utilization", "run.log"}:  # an engine argument, and a file
        section, name = key.split(".")
        assert name in resolved[section], key
    overrides = re.findall(r"\b((?:run|cluster|rollout|learner)\.[a-z_]+=[^\s`]+)", text)
    assert len(overrides) >= 4
    load_recipe(QUICKSTART, overrides)
    for name in re.findall(r"\b(?:kuberay|slurm)/[a-z_.]+[a-z]", text):
        assert (EXAMPLES / name).is_file(), name


def test_scripts_parse_and_nothing_points_to_a_private_host():
    subprocess.run(["bash", "-n", str(EXAMPLES / "slurm/train.sbatch")], check=True)
    compile((EXAMPLES / "kuberay/stop_jobs.py").read_text(), "stop_jobs.py", "exec")
    for path in EXAMPLES.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            hosts = re.findall(r"https?://([^/:\s\"']+)|\b(\d+\.\d+\.\d+\.\d+)\b", path.read_text())
            assert {name for pair in hosts for name in pair if name} <= {"HEAD", "127.0.0.1"}, path


SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
if [[ $1 == hostname ]]; then echo 127.0.0.1; else exec "$@"; fi
"""
SCONTROL = """#!/bin/bash
if [[ $1 == show ]]; then printf '%s\\n' ${3//,/ }; else echo "$@" >> "$REQUEUED"; fi
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_slurm_script_saves_when_its_time_is_over_and_its_next_start_ends_the_run(
    tiny_recipe, whole_run, tmp_path, monkeypatch
):
    shims = tmp_path / "shims"
    shims.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (shims / name).write_text(text)
        (shims / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{shims}:{os.environ['PATH']}")
    monkeypatch.setenv("REQUEUED", str(tmp_path / "requeued"))
    monkeypatch.setenv("RLKIT_VENV", str(Path(sys.prefix)))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "2")
    monkeypatch.setenv("SLURM_JOB_ID", str(os.getpid()))
    run_dir = tmp_path / "runs/tiny"

    monkeypatch.setenv("SLURM_JOB_NODELIST", "here,beside")
    first = start_slurm_job(tiny_recipe, tmp_path)
    try:
        wait_for(lambda: first.poll() is not None or any("stage-1" in row["stage"] for row in metrics(run_dir)))
    finally:
        first.send_signal(signal.SIGTERM)
        code = ended(first)
    assert code == 130
    assert json.loads((run_dir / "summary.json").read_text())["status"] == "stopped"
    assert (tmp_path / "requeued").read_text().split() == ["requeue", str(os.getpid())]

    monkeypatch.setenv("SLURM_JOB_NODELIST", "here")
    second = start_slurm_job(tiny_recipe, tmp_path)
    assert ended(second) == 0
    assert numbers(run_dir) == numbers(whole_run)
    ours, theirs = weights(run_dir), weights(whole_run)
    assert all((ours[name] == theirs[name]).all() for name in theirs)


def start_slurm_job(recipe: Path, folder: Path) -> subprocess.Popen:
    words = [str(recipe), f"run.dir={folder}/runs"]
    return subprocess.Popen(["bash", str(EXAMPLES / "slurm/train.sbatch"), *words], start_new_session=True)


def ended(job: subprocess.Popen) -> int:
    """The script's exit code; what it left running ends with it, as under Slurm before a job is requeued."""
    try:
        return job.wait(300)
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            left = processes_of_the_job()
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            psutil.wait_procs(left, timeout=30)


def processes_of_the_job() -> list[psutil.Process]:
    mark = f"SLURM_JOB_ID={os.environ['SLURM_JOB_ID']}".encode()
    found = []
    for process in set(psutil.process_iter()) - {psutil.Process()}:
        with suppress(OSError, psutil.Error):
            if mark in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                found.append(process)
    return found


def wait_for(condition) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
