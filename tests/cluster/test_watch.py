"""The program that ends what a run or a scorer leaves: processes without Ray, killed and stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.chaos.tree import MARK

DRIVER = """
import os, signal, subprocess, sys
from rlkit.cluster.orphans import end_marked, mark_processes
with mark_processes() as watch:
    inside = [subprocess.Popen(["sleep", "1000"], start_new_session=True) for _ in range(2)]
    os.kill(inside[1].pid, signal.SIGSTOP)
    # Without the environment: known by its parent.
    hidden = subprocess.Popen(["sh", "-c", "env -i sh -c 'echo $$; exec sleep 1000' & wait"], stdout=subprocess.PIPE)
    inside += [hidden, type("Hidden", (), {"pid": int(hidden.stdout.readline())})]
outside = subprocess.Popen(["sleep", "1000"], start_new_session=True)
print(watch.pid, *(child.pid for child in (*inside, outside)), flush=True)
if sys.stdin.readline() == "end\\n":
    end_marked(watch)
    print("ended", flush=True)
    sys.stdin.readline()
"""
ACTOR = """
import multiprocessing, os, subprocess, sys, time
from rlkit.cluster.orphans import end_children_with_this_process
killer = end_children_with_this_process()
child = subprocess.Popen(["sleep", "1000"])
forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
forked.start()
print(child.pid, forked.pid, flush=True)
sys.stdin.readline()
"""


def start(program):
    """The program, and the numbers that it prints first."""
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={key: value for key, value in os.environ.items() if key != MARK},
    )
    return child, [int(word) for word in child.stdout.readline().split()]


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def await_death(*pids, limit_s=30):
    deadline = time.monotonic() + limit_s
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, pids
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_what_was_started_under_the_watch_ends_when_the_driver_does_and_nothing_else(number):
    driver, (watch, *inside, outside) = start(DRIVER)
    try:
        assert all(map(alive, (watch, *inside, outside)))
        driver.send_signal(number)
        driver.wait(timeout=30)
        await_death(*inside, watch)
        assert alive(outside)
    finally:
        os.kill(outside, signal.SIGKILL)


def test_a_driver_that_ends_the_watch_goes_on_without_what_was_left():
    driver, (watch, *inside, outside) = start(DRIVER)
    driver.stdin.write("end\n")
    driver.stdin.flush()
    assert driver.stdout.readline() == "ended\n"
    assert not any(map(alive, (watch, *inside)))
    assert driver.poll() is None
    os.kill(outside, signal.SIGKILL)
    driver.communicate("\n", timeout=30)


def test_what_a_plugin_starts_ends_with_its_scorer():
    actor, children = start(ACTOR)
    assert all(map(alive, children))
    actor.kill()
    actor.wait(timeout=30)
    await_death(*children)
