"""The parts of the kernel tiers one by one: the filter, the folders, the life of a sandbox and its processes."""

from __future__ import annotations

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlkit.verify.sandbox import seccomp, syscalls
from rlkit.verify.sandbox.advice import advice
from rlkit.verify.sandbox.choose import best_tier, examine, open_sandbox
from rlkit.verify.sandbox.folder import count_files, remove_folder
from rlkit.verify.sandbox.job import Job, Limits, SandboxError
from rlkit.verify.sandbox.lease import lease
from rlkit.verify.sandbox.zygote_client import ZygoteSandbox

ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
TIERS = ("namespaces", "landlock")
PID = 4711
THREAD, FORK = 0x3D0F00, 17


def verdict(program: bytes, arch: int, number: int, args: tuple[int, ...] = ()) -> int:
    """What a filter says of a system call: a small interpreter of classic BPF."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *args, *[0] * (6 - len(args)))
    code = list(struct.iter_unpack("=HBBI", program))
    at = value = 0
    while True:
        operation, if_true, if_false, constant = code[at]
        at += 1
        if operation == 0x06:
            return constant
        if operation == 0x20:
            value = int.from_bytes(data[constant : constant + 4], "little")
        elif operation == 0x54:
            value &= constant
        else:
            true = {0x15: value == constant, 0x35: value >= constant, 0x25: value > constant}[operation]
            at += if_true if true else if_false


@pytest.mark.parametrize("machine", ARCH)
@pytest.mark.parametrize("mounts", [True, False])
def test_the_filter_says_of_every_listed_call_what_its_table_says(machine, mounts):
    program = seccomp.filter_program(PID, modes=mounts, mounts=mounts, machine=machine)
    column = list(ARCH).index(machine)
    wanted = {ALLOW: syscalls.ALLOWED, EPERM: syscalls.REFUSED}
    for want, table in (
        *wanted.items(),
        (ALLOW if mounts else EPERM, syscalls.FILE_MODES | syscalls.FILE_CHANGES),
    ):
        for number in seccomp.numbers(table, column):
            assert verdict(program, ARCH[machine], number) == want, number


@given(st.sampled_from(list(ARCH)), st.integers(0, 2**32 - 1))
def test_a_call_that_is_not_listed_does_not_exist(machine, number):
    column = list(ARCH).index(machine)
    tables = (syscalls.ALLOWED, syscalls.CHECKED, syscalls.REFUSED, syscalls.FILE_MODES, syscalls.FILE_CHANGES)
    program = seccomp.filter_program(PID, modes=True, mounts=True, machine=machine)
    if not any(number in seccomp.numbers(table, column) for table in tables):
        assert verdict(program, ARCH[machine], number) == ENOSYS


@given(st.integers(0, 2**32 - 1), st.integers(0, 500))
def test_another_kind_of_call_ends_the_program(arch, number):
    program = seccomp.filter_program(PID, modes=True, mounts=True, machine="x86_64")
    if arch != ARCH["x86_64"]:
        assert verdict(program, arch, number) == KILL


WORD = st.integers(0, 2**64 - 1)
CHECKED_CALLS = {
    # call: (arguments -> whether they may pass)
    "kill": lambda a: a[0] & 0xFFFFFFFF == PID,
    "tgkill": lambda a: a[0] & 0xFFFFFFFF == PID,
    "prlimit64": lambda a: a[0] & 0xFFFFFFFF in (0, PID),
    "clone": lambda a: a[0] & 0x50F00 == 0x50F00 and not a[0] & 0x7E026080,
    "socketpair": lambda a: a[0] & 0xFFFFFFFF == 1 and a[1] & 0xF == 1,
    "sendto": lambda a: a[4] == 0,
    "openat": lambda a: a[2] & 0x203 != 0x200,
    "mmap": lambda a: not a[3] & 0x40000 and a[3] & 0x21 != 1,
    "prctl": lambda a: a[0] & 0xFFFFFFFF in (15, 16),
}


@given(
    st.sampled_from(list(CHECKED_CALLS)),
    st.sampled_from(list(ARCH)),
    st.lists(WORD | st.sampled_from([0, 1, 2, 15, PID, THREAD, FORK, 0x200, 0x21, 0x22]), min_size=6, max_size=6),
)
def test_a_call_passes_with_the_arguments_that_it_may_have(name, machine, args):
    number = syscalls.CHECKED[name][list(ARCH).index(machine)]
    program = seccomp.filter_program(PID, modes=False, mounts=False, machine=machine)
    assert (verdict(program, ARCH[machine], number, tuple(args)) == ALLOW) == CHECKED_CALLS[name](args)


@pytest.mark.parametrize("flags", [THREAD, 0x7D0F00])
def test_the_threads_of_glibc_and_musl_start_and_processes_do_not(flags):
    program = seccomp.filter_program(PID, modes=True, mounts=True, machine="x86_64")
    assert verdict(program, ARCH["x86_64"], 56, (flags,)) == ALLOW
    for process in (FORK, 0x1200011, 0x4111, flags | 0x10000000, flags & ~0x10000):
        assert verdict(program, ARCH["x86_64"], 56, (process,)) == EPERM


@pytest.mark.skipif(not Path("/usr/include/asm-generic/unistd.h").exists(), reason="no kernel headers here")
def test_the_tables_have_the_kernels_own_numbers():
    def defined(path):
        lines = [line.split() for line in Path(path).read_text().splitlines() if line.startswith("#define __NR")]
        return {line[1].split("_", 3)[-1].removeprefix("NR_"): int(line[2]) for line in lines if line[2].isdigit()}

    arm = {name.removeprefix("NR3264_"): n for name, n in defined("/usr/include/asm-generic/unistd.h").items()}
    x86_path = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    for column, known in ((0, defined(x86_path) if x86_path.exists() else {}), (1, arm)):
        names = {name: pair[column] for name, pair in syscalls.ALLOWED.items() if pair[column] is not None}
        shared = {name for name in names if name in known}
        assert len(shared) > 80 or not known
        assert {name: names[name] for name in shared} == {name: known[name] for name in shared}


def test_a_folder_deeper_than_a_path_and_without_rights_is_removed(tmp_path):
    root = tmp_path / "job"
    root.mkdir()
    here = os.open(root, os.O_RDONLY)
    for i in range(1500):
        os.mkdir("deep", dir_fd=here)
        if i % 500 == 0:
            os.close(os.open("file", os.O_CREAT, dir_fd=here))
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.fchmod(here, 0)
        os.close(here)
        here = below
    os.close(here)
    os.symlink("/", tmp_path / "outside")
    (tmp_path / "outside").rename(root / "outside") if os.getuid() == 0 else None
    remove_folder(str(root))
    assert not root.exists()
    assert Path("/etc").exists()


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 20))
def test_files_are_counted_to_a_little_above_the_bound(num_files, num_folders, most):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for i in range(num_folders):
            os.mkdir(f"{folder}/{i}")
        for i in range(num_files):
            place = f"{folder}/{i % num_folders}" if num_folders else folder
            Path(place, f"file-{i}").touch()
        counted = count_files(folder, most)
    assert counted == num_files + num_folders or (counted > most and num_files + num_folders > most)


def function(program: str, *args: int, **limits: float) -> Job:
    """A job that calls f(*args)."""
    request = {"mode": "function", "program": program, "entry_point": "f", "args": list(args), "kwargs": {}}
    return Job(request, Limits(**limits))


def value(sandbox, job: Job):
    """What a job returns."""
    running = sandbox.start(job)
    frame = running.receive()
    running.finish()
    return json.loads(frame)["value"]


@pytest.fixture(params=TIERS)
def sandbox(request):
    one = ZygoteSandbox(request.param)
    yield one
    one.close()


LEFT = {
    "two files of three MiB": "for name in 'ab': open(name, 'wb', buffering=0).write(bytes(3 << 20))",
    "a folder without rights": "import os; os.mkdir('a'); os.chmod('a', 0)",
    "its own folder without rights": "import os; os.chmod('.', 0)",
    "a file in a folder that may not be entered": "import os; os.mkdir('a'); open('a/b', 'w'); os.chmod('a', 0o600)",
    "folders in folders": "import os\nfor _ in range(100): os.mkdir('a'); os.chdir('a')",
}


KEPT = {
    "a file of three MiB": "open('a', 'wb').write(bytes(3 << 20))",
    "a long file without blocks": "open('a', 'w').truncate(4 << 20)",
    "a file by two names": "import os; open('a', 'wb').write(bytes(3 << 20)); os.link('a', 'b')",
    "a link to nothing": "import os; os.symlink('no', 'l')",
    "a path that is too long": (
        "import os\nfor _ in range(20): os.mkdir('a' * 200); os.chdir('a' * 200)\nopen('b' * 200, 'w')"
    ),
}


@pytest.mark.parametrize("program", KEPT.values(), ids=KEPT)
def test_what_a_job_leaves_within_its_bounds_is_no_fault(program):
    assert ends_in_landlock(program) == ["exit"] * 10


@pytest.mark.parametrize("program", LEFT.values(), ids=LEFT)
def test_what_a_job_leaves_is_judged_whenever_it_ended(program):
    assert ends_in_landlock(program) == ["disk"] * 10


def ends_in_landlock(program: str) -> list[str]:
    """How ten jobs of a program end."""
    sandbox = ZygoteSandbox("landlock")
    try:
        ends = []
        for _ in range(10):
            running = sandbox.start(Job({"mode": "stdin", "program": program}, Limits(disk_mb=4, output_kb=64)))
            running.wait()
            ends.append(running.finish().end)
    finally:
        sandbox.close()
    return ends


ECHO = "def f(x): return x"


def test_frames_go_both_ways_until_the_caller_has_what_it_wanted(sandbox):
    running = sandbox.start(Job({"mode": "serve", "program": "def f(x): return x + 1"}))
    assert json.loads(running.receive())["status"] == "ready"
    for i in range(5):
        call = {"op": "call", "target": "f", "args": [i], "kwargs": {}}
        running.send(json.dumps(call).encode())
        assert json.loads(running.receive())["value"] == i + 1
    outcome = running.finish()
    assert (outcome.end, outcome.status, outcome.signal, outcome.tier) == ("exit", None, None, sandbox.tier)
    assert running.finish() is outcome
    running.send(b"lost")
    assert running.receive() is None


def test_a_large_request_and_a_large_answer_cross(sandbox):
    text = "tuna " * 400_000
    request = {"mode": "function", "program": "def f(x): return x", "entry_point": "f", "args": [text], "kwargs": {}}
    running = sandbox.start(Job(request, Limits(output_kb=4096)))
    assert json.loads(running.receive())["value"] == text
    assert running.finish().end == "exit"


def test_a_job_that_reads_nothing_ends_at_its_deadline(sandbox):
    program = "import time\nprint('here', flush=True)\ntime.sleep(100)"
    running = sandbox.start(Job({"mode": "stdin", "program": program}, Limits(wall_s=0.3)))
    running.send(b"x" * (8 << 20))
    outcome = running.finish()
    assert (outcome.end, outcome.stdout) == ("timeout", b"here\n")


def test_an_unfinished_job_is_ended_by_the_next_one(sandbox):
    sandbox.start(Job({"mode": "stdin", "program": "while True: pass"}))
    assert value(sandbox, function(ECHO, 7)) == 7


def test_standard_input_of_any_size_arrives_whole(sandbox):
    program = "import sys\nprint(len(sys.stdin.read()))"
    for size in (0, 1, 5 << 20):
        running = sandbox.start(Job({"mode": "stdin", "program": program}, stdin=b"x" * size))
        running.wait()
        assert running.finish().stdout == f"{size}\n".encode()


def test_a_sandbox_whose_processes_are_killed_starts_anew(sandbox):
    value(sandbox, function(ECHO, 1))
    keeper = sandbox._process.pid
    zygote = int(Path(f"/proc/{keeper}/task/{keeper}/children").read_text())
    running = sandbox.start(Job({"mode": "stdin", "program": "while True: pass"}))
    os.kill(zygote, signal.SIGKILL)
    running.wait()
    assert running.finish().end == "killed"
    assert value(sandbox, function(ECHO, 2)) == 2


def test_threads_judge_side_by_side():
    answers: dict[int, int] = {}

    def work(number: int) -> None:
        for i in range(5):
            with lease("auto") as mine:
                answers[10 * number + i] = value(mine, function(ECHO, 10 * number + i))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: n for n in (10 * number + i for number in range(4) for i in range(5))}


@pytest.mark.parametrize("tier", TIERS)
def test_a_judge_that_is_killed_leaves_no_process_and_no_folder(tier):
    program = (
        "import sys\n"
        "from rlkit.verify.sandbox.zygote_client import ZygoteSandbox\n"
        "from rlkit.verify.sandbox.job import Job\n"
        f"sandbox = ZygoteSandbox({tier!r})\n"
        "running = sandbox.start(Job({'mode': 'stdin', 'program': 'print(1, flush=True)\\nwhile True: pass'}))\n"
        "running._poll.poll()\n"
        "print(sandbox._process.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    judge = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    keeper = int(judge.stdout.readline())
    below = [keeper]
    for pid in below:
        below += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    ends = [os.pidfd_open(pid) for pid in below]
    assert len(below) == 3
    judge.kill()
    judge.wait()
    for end in ends:
        # A descriptor of a process can be read when it has ended.
        assert wait_readable(end)
        os.close(end)
    assert not list(Path("/tmp").glob(f"rlkit-{keeper}-*"))
    judge.stdin.close()
    judge.stdout.close()


@pytest.mark.parametrize("tier", TIERS)
def test_a_judge_that_ends_has_ended_its_sandboxes_before(tier):
    program = (
        "import subprocess, sys\n"
        "from pathlib import Path\n"
        "from rlkit.verify.sandbox.lease import lease\n"
        "from rlkit.verify.sandbox.job import Job\n"
        f"with lease({tier!r}) as sandbox:\n"
        "    sandbox.start(Job({'mode': 'stdin', 'program': ''})).finish()\n"
        "keeper = sandbox._process.pid\n"
        "print(keeper, Path(f'/proc/{keeper}/task/{keeper}/children').read_text())\n"
    )
    pids = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert len(pids) == 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not list(Path("/tmp").glob(f"rlkit-{pids[0]}-*"))


@pytest.mark.skipif(os.getuid() != 0, reason="an ordinary user's other threads count, too")
def test_a_job_has_as_many_threads_as_its_limit_says(sandbox):
    program = """
import threading
def f():
    stop, number = threading.Event(), 1
    try:
        while True:
            threading.Thread(target=stop.wait).start()
            number += 1
    except RuntimeError:
        stop.set()
        return number
"""
    assert value(sandbox, function(program, processes=9)) == 9


def wait_readable(descriptor: int) -> bool:
    """Whether a descriptor becomes readable within half a minute."""
    import select

    return bool(select.select([descriptor], [], [], 30)[0])


def test_the_best_tier_is_one_that_holds_and_its_probes_all_ran():
    report = examine(best_tier())
    assert report.holds
    assert all(probe.held for probe in report.probes)
    assert len(report.probes) >= 10


def test_a_package_that_is_not_installed_is_refused_by_name(sandbox):
    with pytest.raises(SandboxError, match="'no_such_package' is not installed"):
        sandbox.start(Job({"mode": "stdin", "program": ""}, packages=("no_such_package",)))


@pytest.mark.parametrize(
    ("switch", "text", "wanted"),
    [
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "apparmor_restrict_unprivileged_userns=0"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces="),
        ("user/max_user_namespaces", "100", "in a container"),
    ],
)
def test_advice_names_the_switch_that_is_off(tmp_path, switch, text, wanted):
    (tmp_path / switch).parent.mkdir(parents=True)
    (tmp_path / switch).write_text(text + "\n")
    assert wanted in advice("namespaces", "unshare: Operation not permitted", tmp_path)


def test_the_unsafe_tier_is_never_chosen_and_marks_its_results():
    assert best_tier() != "unsafe_none"
    one = open_sandbox("unsafe_none")
    running = one.start(function(ECHO, 3))
    running.receive()
    assert running.finish().tier == "unsafe_none"
    one.close()
