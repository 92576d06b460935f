"""However `rlkit train` ends, 30 s later nothing of it is alive, and no shared memory, port or old session is left."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from rlkit.keep.checkpoint import list_checkpoints
from rlkit.recipe.schema import ClusterKeys
from tests.chaos.tree import Tree, title
from tests.cluster.conftest import RLKIT, metrics

LIMIT_S = 30

JUDGES = '''
import multiprocessing, subprocess, time
from dataclasses import dataclass
from rlkit import Group, Score, judge_code, judge_math

PROGRAM = "def f():\\n    import os\\n    while True:\\n        os.fork() and os.wait()\\n"
REFERENCE = {"mode": "function", "entry_point": "f", "tests": [{"args": [], "expected": 1}]}

@dataclass(frozen=True)
class Judges:
    """Keeps a sandbox and a judging process of mathematics at work until somebody ends them."""
    at_work: str

    def score(self, group: Group) -> list[Score]:
        subprocess.Popen(["sleep", "1000"])
        multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,)).start()
        judge_math("1", "2")
        open(self.at_work, "w").close()
        while True:
            judge_code(REFERENCE, PROGRAM)
'''


def living(pids):
    """Handles that tell a process from a later one with its number."""
    found = set()
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.add(psutil.Process(pid))
    return found


def await_end(processes, tree, limit_s=LIMIT_S):
    """Waits until none of the processes lives, and none that bears the tree's mark."""
    deadline = time.monotonic() + limit_s
    while left := {*filter(is_up, processes), *living(tree.strays())}:
        assert time.monotonic() < deadline, [told(process) for process in left]
        time.sleep(0.05)


def end(tree):
    """Ends what a test that failed has left; a number is only trusted while its process is known to be there."""
    if tree.ended() is None:
        tree.kill(tree.pids())
    for process in living(tree.strays()):
        process.kill()


def is_up(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def told(process):
    try:
        return process.pid, process.status(), process.cmdline()[:3]
    except psutil.Error as e:
        return str(e)


class Run:
    """A `rlkit train` in a session of its own, watched: what its processes are and what they listen on."""

    def __init__(self, run_dir, *words):
        self.run_dir = run_dir
        self.tree = Tree([*RLKIT, "train", *map(str, words), "--run-dir", str(run_dir)], run_dir.with_suffix(".log"))
        self.seen = set()
        self.ports = set()

    def look(self):
        """Notes the processes of now, and the ports that they listen on."""
        found = living({*self.tree.pids(), *self.tree.strays()})
        self.seen |= found
        for process in found:
            try:
                listening = process.net_connections("tcp")
            except psutil.Error:
                continue
            self.ports |= {c.laddr.port for c in listening if c.status == psutil.CONN_LISTEN}

    def await_that(self, condition, limit_s=240):
        deadline = time.monotonic() + limit_s
        while not condition():
            assert self.tree.ended() is None, self.tree.log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.look()

    def await_step(self, step):
        rows = lambda: [row["step"] for row in metrics(self.run_dir) if row["stage"].startswith("stage-1-")]  # noqa: E731
        self.await_that(lambda: rows()[-1:] >= [step])

    def await_nothing_left(self, code, limit_s=200):
        """Waits for the command's end, and checks what it left behind.

        Processes that nobody saw before the end bear the run's mark, in the environment that they inherited.
        """
        assert self.tree.root.wait(timeout=limit_s) == code, self.tree.log.read_text()
        await_end(self.seen, self.tree)
        assert still_theirs(self.ports, {process.pid for process in self.seen}) == set()
        assert [name for name in os.listdir("/dev/shm") if name.startswith("plasma") and not mapped(name)] == []


def still_theirs(ports, pids):
    """The ports on which something of the run listens, or nobody known; another run may have got one of the numbers."""
    listening = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port in ports]
    return {c.laddr.port for c in listening if c.pid is None or c.pid in pids}


def mapped(name):
    """Whether a living process uses a file of /dev/shm: then it is another run's."""
    for path in Path("/proc").glob("[0-9]*/maps"):
        try:
            if f"/dev/shm/{name}" in path.read_text():
                return True
        except OSError:
            continue
    return False


@pytest.fixture
def start(tmp_path):
    """Starts a run in the test's folder; nothing of it stays after the test."""
    runs = []

    def start_one(*words):
        runs.append(Run(tmp_path / "run", *words))
        return runs[-1]

    yield start_one
    for run in runs:
        end(run.tree)


@pytest.fixture
def judging_recipe(tiny_recipe, tmp_path):
    """The tiny recipe with a reward that keeps judges of code and of mathematics at work."""
    (tmp_path / "judges.py").write_text(JUDGES)
    text = tiny_recipe.read_text().replace("./digits.py", str(tiny_recipe.parent / "digits.py"))
    text = text.replace(
        "reward:\n", f"reward:\n  judges: {{plugin: ./judges.py:Judges, weight: 1, at_work: {tmp_path / 'at-work'}}}\n"
    )
    (tmp_path / "judging.yaml").write_text(text)
    return tmp_path / "judging.yaml"


def started(start, judging_recipe):
    """A run whose programs are being judged."""
    run = start(judging_recipe)
    run.await_that((judging_recipe.parent / "at-work").exists)
    before = len(run.seen)
    run.await_that(lambda: len(run.tree.pids()) > before)  # the sandbox's processes
    return run


@pytest.mark.slow
def test_a_driver_killed_while_programs_are_judged_leaves_nothing(start, judging_recipe):
    run = started(start, judging_recipe)
    run.tree.root.kill()
    run.await_nothing_left(-signal.SIGKILL)


@pytest.mark.slow
def test_a_driver_killed_beside_a_stopped_actor_leaves_nothing(start, tiny_recipe):
    run = start(tiny_recipe, "stages.1.steps=500")
    run.await_step(2)
    actors = [pid for pid in run.tree.pids() if title(pid).startswith(("ray::Learner", "ray::Rollout"))]
    assert len(actors) == 2
    for pid in actors:
        os.kill(pid, signal.SIGSTOP)
    run.tree.root.kill()
    run.await_nothing_left(-signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code"),
    [([], 0), (["rollout.parity_limit=1e-12"], 1)],
    ids=["success", "error"],
)
def test_a_run_that_ends_by_itself_leaves_nothing(start, tiny_recipe, words, code):
    run = start(tiny_recipe, *words)
    while run.tree.ended() is None:
        run.look()
        time.sleep(0.2)
    run.await_nothing_left(code)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("times", [1, 2])
def test_a_run_that_is_stopped_leaves_nothing(start, tiny_recipe, number, times):
    """Ctrl-C as a terminal does it, to every process of the group; SIGTERM goes to the command alone."""
    run = start(tiny_recipe, "stages.1.steps=500")
    run.await_step(2)
    send = os.killpg if number == signal.SIGINT else os.kill
    run.look()
    for _ in range(times):
        send(run.tree.root.pid, number)
    run.await_nothing_left(130)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_while_ray_starts_leaves_nothing(start, tiny_recipe, number):
    run = start(tiny_recipe)
    run.await_that(lambda: any("gcs_server" in title(pid) for pid in run.tree.pids()))
    run.tree.root.send_signal(number)
    run.await_nothing_left(130)
    assert json.loads((run.run_dir / "summary.json").read_text())["status"] == "stopped"
    assert "Traceback" not in run.tree.log.read_text()


@pytest.mark.slow
def test_ctrl_c_beside_a_dead_learner_stops_in_order(start, tiny_recipe):
    run = start(tiny_recipe, "stages.1.steps=500", "checkpoint.every=2")
    run.await_that(lambda: list_checkpoints(run.run_dir / "stage-1-grpo" / "checkpoints"))
    (learner,) = (pid for pid in run.tree.pids() if title(pid).startswith("ray::LearnerWorker"))
    os.kill(learner, signal.SIGKILL)
    run.tree.root.send_signal(signal.SIGINT)
    run.await_nothing_left(130)
    assert json.loads((run.run_dir / "summary.json").read_text())["status"] == "stopped"
    assert list_checkpoints(run.run_dir / "stage-1-grpo" / "checkpoints")[-1].step >= 2


@pytest.mark.slow
def test_sigterm_to_every_process_as_slurm_sends_it_stops_the_run_in_order(start, tiny_recipe):
    run = start(tiny_recipe, "stages.1.steps=500", "checkpoint.every=0")
    run.await_step(2)
    for pid in sorted({*run.tree.pids()} - {run.tree.root.pid}):
        os.kill(pid, signal.SIGTERM)
    run.tree.root.send_signal(signal.SIGTERM)
    run.await_nothing_left(130)
    (checkpoint,) = (run.run_dir / "stage-1-grpo" / "checkpoints").iterdir()
    assert int(checkpoint.name.removeprefix("step-")) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_while_programs_are_judged_leaves_nothing(start, judging_recipe, number):
    run = started(start, judging_recipe)
    run.tree.root.send_signal(number)
    run.await_nothing_left(130)


@pytest.mark.slow
def test_the_next_run_deletes_what_ray_wrote_for_runs_that_have_ended():
    """A program that starts a local Ray and is killed, one that runs on, and a third that starts after both."""
    program = (
        "import sys; from rlkit.cluster.ray_start import start_ray; from rlkit.recipe.schema import ClusterKeys\n"
        f"start_ray(ClusterKeys(object_store_mb={ClusterKeys().store_mb}), None); print('up', flush=True)\n"
        "sys.stdin.read()\n"
    )

    def start():
        command = [sys.executable, "-c", program]
        child = subprocess.Popen(
            command, env=os.environ | {"RAY_TMPDIR": str(short)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdout.readline() == b"up\n"
        return child

    def folders():
        return {path for path in (short / f"rlkit-{os.getuid()}").iterdir() if path.is_dir()}

    short = Path(tempfile.mkdtemp(dir="/tmp", prefix="o"))  # a socket's path must be short
    children = [start()]
    (first,) = folders()
    children.append(start())
    assert len(folders()) == 2
    children[0].kill()
    children[0].wait(timeout=60)
    children.append(start())
    assert len(folders()) == 2
    assert first not in folders()
    for child in children:
        child.kill()
        child.communicate(timeout=60)
    shutil.rmtree(short, ignore_errors=True)
