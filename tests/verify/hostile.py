"""Programs that try to get out of their sandbox, or to take more than their share; each with the reason it is here.

A program calls `attempt(name, action)`: an action that neither raises nor returns -1 is an escape. It prints "held" or
what it managed. Names in capitals are defined by whoever runs it: what there is to steal, to break or to reach.
"""

from __future__ import annotations

from dataclasses import dataclass

PRELUDE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"
escapes = []
def attempt(name, action):
    try:
        result = action()
    except BaseException:
        return
    if not (type(result) is int and result < 0):
        escapes.append(name)
def call(x86, arm, *args):
    return libc.syscall(ctypes.c_long(x86 if X86 else arm), *[a if a is None else ctypes.c_long(a) for a in args])
def read(path):
    return open(path, "rb").read(1000)
def report(escaped):
    if escaped:
        escapes.append("it grew")
"""
# Flushed: an interpreter that hangs at its exit (a pool of processes nobody closed may) would keep what it found.
EPILOGUE = "\nprint('escaped: ' + ', '.join(escapes) if escapes else 'held', flush=True)\n"

LIMITS = {
    "wall_s": 2.0,
    "cpu_s": 2.0,
    "memory_mb": 128.0,
    "output_kb": 64.0,
    "disk_mb": 4.0,
    "processes": 16.0,
}
SOON = {"wall_s": 0.3}


@dataclass(frozen=True)
class Hostile:
    """One program."""

    why: str
    program: str
    ends: tuple[str, ...] = ("exit",)
    limits: dict[str, float] | None = None
    bites: bool = False
    """Whether it does escape where nothing is contained: shows that the attempt is a real one."""


PROCESSES = {
    "fork bomb": Hostile(
        "many processes share no limit on memory", "for _ in range(20): attempt('fork', os.fork)", bites=True
    ),
    "clone by number": Hostile(
        "a filter on fork alone misses it",
        "attempt('clone', lambda: call(56, 220, 17, 0, 0, 0, 0) or os._exit(0))",
        bites=True,
    ),
    "clone without files": Hostile(
        "a thread with descriptors of its own multiplies their limit",
        "attempt('clone', lambda: call(56, 220, 0x10900, 0, 0, 0, 0))",
    ),
    "clone3": Hostile("its flags are out of a filter's sight", "attempt('clone3', lambda: call(435, 435, 0, 0))"),
    "vfork": Hostile("the third way to fork", "attempt('vfork', lambda: libc.vfork() or os._exit(0))"),
    "daemon": Hostile(
        "a grandchild in a session of its own outlives its family",
        """
def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            libc.prctl(15, MARK.encode())
            import time; time.sleep(1000)
        os._exit(0)
attempt("daemon", daemon)
""",
        bites=True,
    ),
    "spawn": Hostile(
        "a program from outside",
        """
import subprocess
attempt("spawn", lambda: os.posix_spawn("/bin/true", ["true"], {}))
attempt("shell", lambda: subprocess.run("true", shell=True, check=True))
attempt("system", lambda: -1 if os.system("true") else 0)
""",
        bites=True,
    ),
    "exec": Hostile("a set-user-id program", "attempt('exec', lambda: os.execv('/bin/true', ['true']))"),
    "multiprocessing": Hostile(
        "processes through the library",
        # Not a Pool: as the documentation warns, one that is not closed may hang.
        """
import multiprocessing
child = multiprocessing.Process(target=abs, args=(1,))
attempt("child", child.start)
if child.pid: child.join()
""",
        bites=True,
    ),
    "threads": Hostile(
        "threads are processes to the kernel",
        """
import threading
stop, threads = threading.Event(), []
try:
    while len(threads) < 200:
        threads.append(threading.Thread(target=stop.wait))
        threads[-1].start()
except RuntimeError:
    threads.pop()
stop.set()
# Where the kernel counts this user's other threads, too, there is room for 64 more.
report(len(threads) >= LIMIT_PROCESSES + 64)
""",
    ),
}

MEMORY = {
    "one list": Hostile("plain growth", "attempt('memory', lambda: bytearray(1 << 30))"),
    "small objects": Hostile(
        "growth in steps",
        "kept = []\ndef grow():\n    while len(kept) < 300: kept.append(bytearray(1 << 20))\nattempt('memory', grow)",
    ),
    "shared mapping": Hostile(
        "shared memory is in no data segment",
        "import mmap\nkept = []\nfor _ in range(8): attempt('m', lambda: kept.append(mmap.mmap(-1, 32 << 20)))\n"
        "escapes[:] = escapes[4:]",
    ),
    "memory files": Hostile("memory without an address", "attempt('memfd', lambda: os.memfd_create('x'))", bites=True),
    "huge pages": Hostile(
        "a reserve of the whole machine",
        "attempt('huge', lambda: call(9, 222, 0, 2 << 20, 3, 0x40022, -1, 0))",
    ),
    "POSIX shared memory": Hostile(
        "it outlives the process",
        """
import _posixshmem
attempt("shm", lambda: _posixshmem.shm_open("/" + MARK, os.O_CREAT | os.O_RDWR, mode=0o600))
attempt("file", lambda: open("/dev/shm/" + MARK, "w"))
""",
    ),
    "in threads": Hostile(
        "each thread has an arena",
        """
import threading
kept = []
def grow():
    try:
        while len(kept) < 300: kept.append(bytearray(1 << 20))
    except MemoryError: pass
threads = [threading.Thread(target=grow) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
report(len(kept) > 130)
""",
    ),
    "pipes": Hostile(
        "the kernel's own buffers",
        """
import fcntl
pipes = []
try:
    while len(pipes) < 1000:
        pipes.append(os.pipe())
        attempt("size", lambda: fcntl.fcntl(pipes[-1][1], 1031, 1 << 20))
except OSError: pass
report(len(pipes) > 40)
""",
    ),
    "C stack": Hostile(
        "a native recursion without end",
        """
ctypes.pythonapi.Py_SetRecursionLimit(10**9)
x = []
for _ in range(10**6): x = [x]
x == [x]
""",
        ends=("killed",),
    ),
    "locked memory": Hostile("pages that cannot be evicted", "attempt('mlock', lambda: libc.mlockall(3))"),
}

DISK = {
    "one file": Hostile(
        "plain growth",
        """
total = 0
try:
    with open("a", "wb", buffering=0) as f:
        while total < 64 << 20: total += f.write(bytes(1 << 20))
except OSError: pass
report(total > 5 << 20)
""",
        ends=("exit", "disk"),
    ),
    "many files": Hostile(
        "a limit on one file is not a limit on their sum",
        """
total = 0
try:
    for i in range(300):
        with open(str(i), "wb", buffering=0) as f: total += f.write(bytes(1 << 20))
except OSError: pass
report(total > 200 << 20)
""",
        ends=("exit", "disk"),
    ),
    "deleted files": Hostile(
        "what is open has size without a name",
        """
kept = []
try:
    while len(kept) < 50:
        kept.append(open("a", "wb", buffering=0)); os.remove("a")
        for _ in range(4): kept[-1].write(bytes(1 << 20))
except OSError: pass
report(len(kept) >= 50)
""",
        ends=("exit", "disk"),
    ),
    "mapped files": Hostile(
        "pages written without a write call",
        """
import mmap
total = 0
try:
    for i in range(40):
        with open(str(i), "wb+") as f:
            f.truncate(1 << 20)
            m = mmap.mmap(f.fileno(), 1 << 20)
            for at in range(0, 1 << 20, 4096): m[at] = 1
            total += 1
except OSError: pass
report(total > 5)
""",
        ends=("exit", "killed", "disk"),
    ),
    "allocated files": Hostile(
        "blocks without a byte written",
        "for i in range(40): attempt(str(i), lambda: os.posix_fallocate(os.open(str(i), 66), 0, 1 << 20))\n"
        "escapes[:] = escapes[4:]",
        ends=("exit", "disk"),
    ),
    "sparse file": Hostile(
        "a size without blocks",
        "f = open('a', 'wb'); attempt('truncate', lambda: f.truncate(1 << 40))",
    ),
    "inodes": Hostile(
        "empty files fill a disk, too",
        """
count = 0
try:
    while count < 200_000:
        os.close(os.open(str(count), os.O_CREAT | os.O_WRONLY)); count += 1
except OSError: pass
report(count >= 200_000)
""",
        # A timeout: ext4 takes a millisecond a file where many were just removed.
        ends=("exit", "disk", "timeout"),
        limits={"wall_s": 0.5},
    ),
    "links": Hostile(
        "names without files",
        """
open("a", "w").close()
count = 0
try:
    while count < 200_000:
        os.symlink("a", f"s{count}"); count += 1
except OSError: pass
report(count >= 200_000)
""",
        # A timeout: ext4 takes a millisecond a file where many were just removed.
        ends=("exit", "disk", "timeout"),
        limits={"wall_s": 0.5},
    ),
    "deep folders": Hostile(
        "deeper than any path, or the stack of who removes them",
        """
try:
    for _ in range(5000): os.mkdir("d"); os.chdir("d")
except OSError: pass
""",
        ends=("exit", "disk"),
    ),
    "folders without rights": Hostile(
        "whoever removes them may not enter",
        "os.umask(0o777)\nos.mkdir('a')\nattempt('enter', lambda: os.listdir('a') and -1)\nescapes.clear()",
        # On an ordinary file system files that cannot be counted, as in a folder that may not be read, are too many.
        ends=("exit", "disk"),
    ),
    "own folder": Hostile(
        "the next job gets one of the same name",
        "try: os.chmod('.', 0)\nexcept OSError: pass\nattempt('above', lambda: os.rename('.', '../other'))\n"
        "attempt('remove', lambda: os.rmdir(os.getcwd()))\nattempt('side', lambda: os.mkdir('../side'))",
        # Where its folder is all of /tmp, the mount stays as it is; elsewhere its files cannot be counted.
        ends=("exit", "disk"),
    ),
    "descriptors": Hostile(
        "a table of the whole machine",
        """
kept = []
try:
    while len(kept) < 1000: kept.append(os.open("/dev/null", 0))
except OSError: pass
report(len(kept) > 64)
attempt("high", lambda: os.dup2(0, 500))
""",
    ),
}

TIME = {
    "spin": Hostile("never yields to a timer in Python", "while True: pass", ("timeout",), SOON),
    "sleep": Hostile("takes no CPU", "import time\ntime.sleep(1e6)", ("timeout",), SOON),
    "cpu of all threads": Hostile(
        "each below the limit",
        "import threading, zlib\ndef f():\n    while True: zlib.crc32(bytes(1 << 20))\n"
        "for _ in range(4): threading.Thread(target=f).start()",
        ("timeout",),
        {"wall_s": 8.0, "cpu_s": 1.0},
    ),
    "signals ignored": Hostile(
        "only SIGKILL is left",
        """
import signal
for n in range(1, 65): attempt("ignore", lambda: signal.signal(n, signal.SIG_IGN) and -1)
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
while True: pass
""",
        ("timeout",),
        SOON,
    ),
    "C loop": Hostile("one instruction of Python that takes years", "10 ** 10 ** 9", ("timeout", "exit"), SOON),
    "backtracking": Hostile(
        "the same in a regular expression", "import re\nre.match('(a+)+$', 'a' * 60 + 'b')", ("timeout",), SOON
    ),
    "stopped": Hostile("a stopped process answers nothing", "os.kill(os.getpid(), 19)", ("timeout", "exit"), SOON),
    "thread at the end": Hostile(
        "the main thread returns, another goes on",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()",
        ("timeout",),
        SOON,
    ),
    "closed pipes": Hostile(
        "an end of file that is no end", "import time\nos.closerange(0, 64)\ntime.sleep(1000)", ("timeout",), SOON
    ),
    "trickle": Hostile(
        "always something to read",
        "import time\nwhile True:\n    os.write(1, b'x'); time.sleep(0.001)",
        ("timeout", "output"),
        SOON,
    ),
}

OUTPUT = {
    "print flood": Hostile("fills the judge's memory", "while True: print('a' * 10000)", ("output",)),
    "raw flood": Hostile("past Python's buffers", "while True: os.write(1, bytes(1 << 20))", ("output",)),
    "every descriptor": Hostile(
        "one that leads to the judge would block a reader and take what a writer forges",
        """
import errno
def refused(action):
    try: action()
    except OSError as e: return e.errno == errno.EBADF
for fd in range(3, 4097):
    for action in (os.read, os.write):
        # A folder that Python needs may be kept where it has no other name; it is neither read nor written.
        report(not refused(lambda: action(fd, b"x" if action is os.write else 10)))
    report(fd < 64 and not refused(lambda: os.fstat(fd)))
""",
    ),
    "frame flood": Hostile(
        "the harness's own way to the judge",
        """
frame = sys._getframe()
while "channel" not in frame.f_locals: frame = frame.f_back
while True: frame.f_locals["channel"].send(b'\\x7f' * (1 << 16))
""",
        ("timeout",),
        SOON,
    ),
    "error flood": Hostile(
        "nobody reads standard error",
        "for _ in range(1000): os.write(2, bytes(1 << 16))",
        ("exit", "disk"),
    ),
}

CRASHES = {
    "null pointer": Hostile("a crash in C", "ctypes.string_at(0)", ("killed",)),
    "abort": Hostile("as a failed assertion in C", "os.abort()", ("killed",)),
    "killed": Hostile("by its own hand", "os.kill(os.getpid(), 9)", ("killed",)),
    "illegal system call": Hostile(
        "32-bit calls have other numbers: 20 is getpid there, writev here",
        """
import mmap, platform
if not X86: os.kill(os.getpid(), 31)
code = mmap.mmap(-1, 4096, prot=7)
code.write(b"\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3")
address = ctypes.addressof(ctypes.c_char.from_buffer(code))
pid = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
attempt("int 0x80", lambda: pid)
""",
        ("killed",),
    ),
}

FILES = {
    "secrets": Hostile(
        "keys, passwords, other tests",
        """
for path in (SECRET_FILE, "/etc/passwd", "/etc/shadow", "/etc/hostname", "/root/.bash_history", "/var/log/dpkg.log"):
    attempt(path, lambda: read(path))
for path in (SECRET_FOLDER, "/proc", "/sys", "/var", "/etc/ssl"):
    attempt(path, lambda: os.listdir(path))
""",
        bites=True,
    ),
    "links to secrets": Hostile(
        "a name in its own folder for a file outside",
        """
os.symlink(SECRET_FILE, "s"); attempt("symbolic", lambda: read("s"))
attempt("hard", lambda: os.link(SECRET_FILE, "h"))
attempt("up", lambda: read("../" * 40 + SECRET_FILE))
attempt("by descriptor", lambda: read(f"/proc/self/fd/{os.open(SECRET_FILE, os.O_PATH)}"))
attempt("by folder", lambda: os.open(os.path.basename(SECRET_FILE), 0, dir_fd=os.open(SECRET_FOLDER, os.O_PATH)))
""",
        bites=True,
    ),
    "processes' files": Hostile(
        "environments, command lines and memory of others",
        """
for pid in ("self", 1, os.getppid(), JUDGE_PID, VICTIM_PID):
    for name in ("environ", "cmdline", "maps", "mem", "status", "fd", "root", "cwd/x", "auxv"):
        path = f"/proc/{pid}/{name}"
        attempt(path, lambda: os.listdir(path) if name in ("fd", "root") else read(path))
""",
        bites=True,
    ),
    "kernel's files": Hostile(
        "core_pattern runs a program as root on the next crash",
        """
for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/self/oom_score_adj", "/proc/self/uid_map",
             "/sys/fs/cgroup/cgroup.procs", "/sys/kernel/uevent_helper"):
    attempt(path, lambda: open(path, "w").close())
for path in ("/dev/mem", "/dev/kmsg", "/dev/tty", "/dev/vda", "/dev/sda", "/dev/fuse", "/dev/kvm", "/dev/ptmx"):
    attempt(path, lambda: os.open(path, os.O_RDONLY))
attempt("device", lambda: os.mknod("d", 0o020666, os.makedev(1, 1)))
attempt("pipe", lambda: os.mkfifo("p"))
""",
    ),
    "writing outside": Hostile(
        "what the next user of the machine runs",
        """
for path in (SECRET_FILE, SECRET_FOLDER + "/" + MARK, os.__file__, os.path.dirname(os.__file__) + "/evil.py",
             "/dev/shm/" + MARK, "/var/tmp/" + MARK, "/" + MARK, "/etc/" + MARK, "/usr/x"):
    attempt(path, lambda: os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666))
attempt("folder", lambda: os.mkdir(SECRET_FOLDER + "/" + MARK))
attempt("remove", lambda: os.remove(SECRET_FILE))
attempt("rename", lambda: os.rename(SECRET_FILE, SECRET_FILE + "2"))
attempt("link", lambda: os.symlink("a", SECRET_FOLDER + "/" + MARK))
""",
        bites=True,
    ),
    "metadata": Hostile(
        "Landlock lets these pass",
        """
for path in (SECRET_FILE, SECRET_FOLDER, os.__file__):
    attempt("mode", lambda: os.chmod(path, 0o777))
    attempt("owner", lambda: os.chown(path, os.getuid(), os.getgid()))
    attempt("times", lambda: os.utime(path))
    attempt("attribute", lambda: os.setxattr(path, "user.rlkit", b"x"))
    attempt("cut", lambda: os.truncate(path, 0))
    attempt("cut by opening", lambda: os.open(path, os.O_RDONLY | os.O_TRUNC))
attempt("mode by descriptor", lambda: os.fchmod(os.open(os.__file__, 0), 0o777))
""",
        bites=True,
    ),
    "environment": Hostile(
        "tokens and keys are passed in it",
        """
pointer = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
block = [pointer[i] for i in range(1000) if pointer] if pointer and pointer[0] else []
report(bool(os.environ) or any(b"SECRET" in (text or b"") for text in block))
""",
    ),
    "descriptors of others": Hostile(
        "the judge's sockets and files",
        """
import stat
for fd in range(4, 256):
    attempt(f"descriptor {fd}", lambda: -1 if stat.S_ISDIR(os.fstat(fd).st_mode) else 0)
attempt("input can be written", lambda: os.write(0, b"x"))
attempt("input can grow", lambda: os.truncate(0, 1 << 20))
""",
    ),
}

NETWORK = {
    "every family": Hostile(
        "the network has many doors",
        """
import socket
for family in range(46):
    for kind in (1, 2, 3, 4, 5, 10):
        attempt(f"socket {family} {kind}", lambda: socket.socket(family, kind))
""",
        bites=True,
    ),
    "connect": Hostile(
        "services that trust the local machine",
        """
import socket
attempt("tcp", lambda: socket.create_connection(("127.0.0.1", TCP_PORT), 1))
attempt("name", lambda: socket.getaddrinfo("localhost.", 80) and socket.create_connection(("localhost", TCP_PORT)))
def unix(name):
    with socket.socket(socket.AF_UNIX) as s: s.connect(name)
attempt("path", lambda: unix(SECRET_FOLDER + "/socket"))
attempt("abstract", lambda: unix(ABSTRACT))
""",
        bites=True,
    ),
    "datagrams from a pair": Hostile(
        "an end of a pair can send to any address",
        """
import socket
def send():
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    a.sendto(b"x", DATAGRAM)
attempt("datagram", send)
a, b = socket.socketpair()
attempt("stream", lambda: a.sendto(b"x", DATAGRAM))
attempt("descriptors", lambda: socket.send_fds(a, [b"x"], [0]))
""",
        bites=True,
    ),
    "hypervisor": Hostile(
        "vsock is in no network namespace",
        "import socket\nattempt('vsock', lambda: socket.socket(40, 1).connect((2, 1024)))\n"
        "attempt('socket', lambda: socket.socket(40, 1))",
    ),
}

OTHERS = {
    "signals": Hostile(
        "the judge is the first one to stop",
        """
import signal
for pid in (JUDGE_PID, VICTIM_PID, os.getppid(), 1, 2, -1, 0, -VICTIM_PID):
    for number in (0, 15, 19, 10):
        attempt(f"kill {pid} {number}", lambda: os.kill(pid, number))
    attempt("queue", lambda: call(129, 138, pid, 15, 0))
    attempt("thread", lambda: call(234, 131, pid, pid, 15))
    attempt("one thread", lambda: call(200, 130, pid, 15))
    attempt("pidfd", lambda: os.pidfd_open(pid))
""",
    ),
    "signals by input": Hostile(
        "a descriptor sends a signal of choice to a process of choice",
        """
import fcntl, socket
a, b = socket.socketpair()
for pid in (JUDGE_PID, VICTIM_PID, os.getppid()):
    attempt("owner", lambda: fcntl.fcntl(a, 8, pid))
    attempt("extended", lambda: fcntl.fcntl(a, 15, bytes(4) + pid.to_bytes(4, "little")))
    attempt("ioctl", lambda: fcntl.ioctl(a, 0x8901, pid.to_bytes(4, "little")))
attempt("signal", lambda: fcntl.fcntl(a, 10, 9))
""",
        bites=True,
    ),
    "tracing": Hostile(
        "reads and writes all of another process",
        """
buffer = ctypes.create_string_buffer(64)
for pid in (JUDGE_PID, VICTIM_PID, os.getppid()):
    attempt("attach", lambda: libc.ptrace(16, pid, 0, 0))
    attempt("seize", lambda: libc.ptrace(0x4206, pid, 0, 0))
    attempt("read", lambda: call(310, 270, pid, ctypes.addressof(buffer), 1, ctypes.addressof(buffer), 1, 0))
    attempt("compare", lambda: call(312, 272, pid, os.getpid(), 0, 0, 0))
attempt("be traced", lambda: libc.ptrace(0, 0, 0, 0))
""",
    ),
    "limits and priorities": Hostile(
        "slows down or ends others without a signal",
        """
import resource
for pid in (JUDGE_PID, VICTIM_PID, os.getppid()):
    attempt("limit", lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1)))
    attempt("read limit", lambda: resource.prlimit(pid, resource.RLIMIT_CPU))
    attempt("affinity", lambda: os.sched_setaffinity(pid, {0}))
    attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
    attempt("scheduler", lambda: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0)))
    attempt("input and output", lambda: call(251, 30, 1, pid, 0x6000))
    attempt("coredump", lambda: call(149, 228, pid, 4096))
attempt("user", lambda: os.setpriority(os.PRIO_USER, os.getuid(), 19))
""",
        bites=True,
    ),
    "own limits": Hostile(
        "a limit that can be raised is none",
        """
import resource
for which in range(16):
    soft, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        attempt(f"limit {which}", lambda: resource.setrlimit(which, (hard, hard + 1)))
attempt("cpu", lambda: resource.setrlimit(resource.RLIMIT_CPU, (10**6, 10**6)))
attempt("real time", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
""",
    ),
}

KERNEL = {
    "namespaces": Hostile(
        "root in a namespace of its own",
        """
for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000, 0x8000000, 0x4000000, 0x2000000, 0x80, 0x400, 0x200):
    attempt(f"unshare {flag:#x}", lambda: libc.unshare(flag))
    attempt(f"clone {flag:#x}", lambda: call(56, 220, 17 | 0x10000000 | flag, 0, 0, 0, 0) or os._exit(0))
    attempt(f"set {flag:#x}", lambda: libc.setns(0, flag))
""",
        bites=True,
    ),
    "mounts": Hostile(
        "the old root, or devices, come back",
        """
attempt("mount", lambda: libc.mount(b"tmpfs", b".", b"tmpfs", 0, None))
attempt("proc", lambda: libc.mount(b"proc", b".", b"proc", 0, None))
attempt("bind", lambda: libc.mount(b"/", b".", None, 0x1000, None))
attempt("writable", lambda: libc.mount(None, b"/", None, 0x1020, None))
attempt("unmount", lambda: libc.umount2(b"/tmp", 2))
attempt("pivot", lambda: call(155, 41, 0, 0))
for number in (428, 429, 430, 431, 432, 433, 442):
    attempt(f"mount call {number}", lambda: call(number, number, 0, 0, 0, 0, 0))
os.mkdir("root")
attempt("chroot", lambda: os.chroot("root"))
""",
    ),
    "user ids": Hostile(
        "0 is root, here or elsewhere",
        """
report(0 in (os.getuid(), os.geteuid(), os.getgid(), os.getegid(), *os.getgroups()))
for n in (0, 1, 65534):
    attempt("uid", lambda: os.setuid(n)); attempt("gid", lambda: os.setgid(n))
    attempt("resuid", lambda: os.setresuid(n, n, n)); attempt("groups", lambda: os.setgroups([n]))
    attempt("fs uid", lambda: call(122, 151, n))
data = ctypes.create_string_buffer(24)
attempt("capabilities", lambda: libc.capset(b"\\x22\\x05\\x08\\x20" + bytes(4), b"\\xff" * 24))
attempt("ambient", lambda: libc.prctl(47, 2, 21, 0, 0))
attempt("securebits", lambda: libc.prctl(28, 0, 0, 0, 0))
attempt("dumpable", lambda: libc.prctl(4, 1, 0, 0, 0))
attempt("another filter", lambda: libc.prctl(22, 2, 0, 0, 0))
attempt("subreaper", lambda: libc.prctl(36, 1, 0, 0, 0))
""",
    ),
    "rare system calls": Hostile(
        "each has been the way out once",
        """
for name, x86, arm in (
    ("userfaultfd", 323, 282), ("perf_event_open", 298, 241), ("bpf", 321, 280), ("io_uring_setup", 425, 425),
    ("io_uring_enter", 426, 426), ("add_key", 248, 217), ("request_key", 249, 218), ("keyctl", 250, 219),
    ("kexec_load", 246, 104), ("init_module", 175, 105), ("finit_module", 313, 273), ("delete_module", 176, 106),
    ("name_to_handle_at", 303, 264), ("open_by_handle_at", 304, 265), ("fanotify_init", 300, 262),
    ("inotify_init1", 294, 26), ("lookup_dcookie", 212, 18), ("quotactl", 179, 60), ("acct", 163, 89),
    ("swapon", 167, 224), ("reboot", 169, 142), ("syslog", 103, 116), ("personality", 135, 92),
    ("move_pages", 279, 239), ("migrate_pages", 256, 238), ("mbind", 237, 235), ("set_mempolicy", 238, 237),
    ("remap_file_pages", 216, 234), ("vmsplice", 278, 75), ("splice", 275, 76), ("tee", 276, 77),
    ("memfd_secret", 447, 447), ("landlock_create_ruleset", 444, 444), ("pidfd_getfd", 438, 438),
    ("openat2", 437, 437), ("process_madvise", 440, 440), ("clock_adjtime", 305, 266), ("settimeofday", 164, 170),
    ("sync", 162, 81), ("vhangup", 153, 58), ("ioperm", 173, 0x7FFF), ("iopl", 172, 0x7FFF), ("uselib", 134, 0x7FFF),
    ("modify_ldt", 154, 0x7FFF), ("arch_prctl", 158, 0x7FFF), ("timer_create", 222, 107), ("seccomp", 317, 277),
    ("x32 getpid", 0x40000000 + 39, 0x7FFF), ("x32 fork", 0x40000000 + 57, 0x7FFF), ("unknown", 5000, 5000),
):
    attempt(name, lambda: call(x86, arm, 0, 0, 0, 0, 0))
""",
    ),
    "IPC": Hostile(
        "it stays when everyone has gone",
        """
attempt("memory", lambda: call(29, 194, 0x726C6B69, 4096, 0o1666))
attempt("semaphores", lambda: call(64, 190, 0x726C6B69, 1, 0o1666))
attempt("messages", lambda: call(68, 186, 0x726C6B69, 0o1666))
name = ctypes.create_string_buffer(MARK.encode())
attempt("queue", lambda: call(240, 180, ctypes.addressof(name), 0o102, 0o666, 0))
attempt("list", lambda: call(30, 196, 0, 0, 0))
attempt("semaphore file", lambda: __import__("_multiprocessing").SemLock(1, 1, 1, "/" + MARK, False))
""",
        bites=True,
    ),
    "terminal": Hostile(
        "characters pushed into someone's shell",
        """
import fcntl
for fd in (0, 1, 2, 3):
    for request in (0x5412, 0x540E, 0x5423, 0x8904):
        attempt(f"ioctl {request:#x}", lambda: fcntl.ioctl(fd, request, b"x"))
""",
    ),
}

HOSTILE: dict[str, Hostile] = {
    f"{group}: {name}": hostile
    for group, programs in {
        "processes": PROCESSES,
        "memory": MEMORY,
        "disk": DISK,
        "time": TIME,
        "output": OUTPUT,
        "crashes": CRASHES,
        "files": FILES,
        "network": NETWORK,
        "others": OTHERS,
        "kernel": KERNEL,
    }.items()
    for name, hostile in programs.items()
}
