"""A filter on system calls, as a classic BPF program: calls that `syscalls.py` does not list do not exist.

Both kernel tiers use it. A program can start no other process, so the kernel's limits per process are the limits of the
whole job. It can signal, limit and prioritise itself only, and can open no sockets.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterable, Sequence

from rlkit.verify.sandbox import kernel
from rlkit.verify.sandbox.syscalls import ALLOWED, CHECKED, FILE_CHANGES, FILE_MODES, REFUSED, Numbers

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_COLUMN = {"x86_64": 0, "aarch64": 1}
MACHINES = tuple(_COLUMN)
"""The processors whose system calls are known."""
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _ABOVE, _AND, _RETURN = 0x20, 0x15, 0x35, 0x25, 0x54, 0x06
_MODE_FILTER = 2

# The flags of clone that glibc and musl pass for a new thread. Without one of them clone makes a process; with one of
# _NO_THREAD it makes a namespace, or a process in another way.
_THREAD = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000
_NO_THREAD = 0x7E020000 | 0x80 | 0x2000 | 0x4000
_O_WRITES, _O_TRUNC = 0x3, 0x200
_MAP_SHARED, _MAP_ANONYMOUS, _MAP_HUGETLB = 0x1, 0x20, 0x40000
_SOCK_TYPE_MASK, _SOCK_STREAM, _AF_UNIX = 0xF, 1, 1
_IOCTLS = (0x541B, 0x5401, 0x5413, 0x5421, 0x5450, 0x5451)  # FIONREAD TCGETS TIOCGWINSZ FIONBIO FIONCLEX FIOCLEX
# DUPFD GETFD SETFD GETFL SETFL GETLK SETLK SETLKW OFD_* DUPFD_CLOEXEC; not F_SETOWN, which signals any process.
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030)
_PRCTLS = (15, 16)  # PR_SET_NAME PR_GET_NAME

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, constant."""


def filter_program(pid: int, modes: bool, mounts: bool, machine: str | None = None) -> bytes:
    """The filter for one process, as an array of struct sock_filter.

    Args:
        pid: The only process that may be sent signals: itself.
        modes: Whether it may change the modes of files: where it can own none but its own.
        mounts: Whether mounts hold it: then it may change the times of files, which are read-only outside its folder,
            and grow files in uncounted ways, as its folder has a size.
        machine: "x86_64" or "aarch64"; this one where None.
    """
    machine = machine or kernel.machine()
    column = _COLUMN[machine]
    allowed, refused = numbers(ALLOWED, column), numbers(REFUSED, column)
    for table, granted in ((FILE_MODES, modes), (FILE_CHANGES, mounts)):
        (allowed if granted else refused).update(numbers(table, column))
    # struct seccomp_data: nr, arch, instruction pointer, six arguments of 8 bytes.
    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _AUDIT_ARCH[machine]), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    program += _verdict_on(allowed, _ALLOW)
    checks = _checks(pid, mounts)
    for name, pair in CHECKED.items():
        if (number := pair[column]) is not None:
            program += [(_EQUAL, 0, len(checks[name]), number), *checks[name]]
    program += _verdict_on(refused, _ERRNO | errno.EPERM)
    program.append((_RETURN, 0, 0, _ERRNO | errno.ENOSYS))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def install(program: bytes) -> None:
    """Applies the filter to this thread for good; set `no_new_privs` before."""
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions, and a pointer on its own alignment.
    kernel.prctl(
        kernel.PR_SET_SECCOMP, _MODE_FILTER, struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    )


def numbers(table: Numbers, column: int) -> set[int]:
    """The system calls of a table that one kind of processor has."""
    return {number for pair in table.values() if (number := pair[column]) is not None}


def _verdict_on(calls: Iterable[int], verdict: int) -> list[Instruction]:
    """Instructions that return a verdict for these system calls."""
    program: list[Instruction] = []
    for first, last in _ranges(calls):
        if first == last:
            program.append((_EQUAL, 0, 1, first))
        else:
            program += [(_AT_LEAST, 0, 2, first), (_ABOVE, 1, 0, last)]
        program.append((_RETURN, 0, 0, verdict))
    return program


def _ranges(calls: Iterable[int]) -> list[tuple[int, int]]:
    """{1, 2, 3, 7} -> [(1, 3), (7, 7)]"""
    found: list[tuple[int, int]] = []
    for number in sorted(calls):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _checks(pid: int, mounts: bool) -> dict[str, list[Instruction]]:
    """What an argument must be, by system call; each list ends with a verdict."""
    # Where Landlock is older than its right to truncate, opening to read with O_TRUNC would empty a readable file.
    opening = (_O_WRITES | _O_TRUNC, _O_TRUNC)
    mapping = _not_masked(3, _MAP_HUGETLB, _MAP_HUGETLB)
    if not mounts:  # a file grown through shared memory escapes the count of bytes written
        mapping += _not_masked(3, _MAP_SHARED | _MAP_ANONYMOUS, _MAP_SHARED)
    return {
        "open": [*_not_masked(1, *opening), (_RETURN, 0, 0, _ALLOW)],
        "openat": [*_not_masked(2, *opening), (_RETURN, 0, 0, _ALLOW)],
        "mmap": [*mapping, (_RETURN, 0, 0, _ALLOW)],
        "ioctl": _one_of(1, _IOCTLS, errno.ENOTTY),
        "fcntl": _one_of(1, _FCNTLS, errno.EINVAL),
        "prctl": _one_of(0, _PRCTLS, errno.EPERM),
        "prlimit64": _one_of(0, (0, pid), errno.EPERM),
        "kill": _one_of(0, (pid,), errno.EPERM),
        "tgkill": _one_of(0, (pid,), errno.EPERM),
        "clone": [*_masked(0, _THREAD | _NO_THREAD, _THREAD), (_RETURN, 0, 0, _ALLOW)],
        "socketpair": [*_masked(1, _SOCK_TYPE_MASK, _SOCK_STREAM), *_one_of(0, (_AF_UNIX,), errno.EPERM)],
        # With an address it could reach the sockets of other processes.
        "sendto": [*_masked(4, 0xFFFFFFFF, 0), *_masked(4, 0xFFFFFFFF, 0, high=True), (_RETURN, 0, 0, _ALLOW)],
    }


def _load(argument: int, high: bool = False) -> Instruction:
    """Loads one half of an argument: both processors are little-endian, and the kernel reads the low half of an int."""
    return (_LOAD, 0, 0, 16 + 8 * argument + (4 if high else 0))


def _masked(argument: int, mask: int, value: int, high: bool = False) -> list[Instruction]:
    refuse = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    return [_load(argument, high), (_AND, 0, 0, mask), (_EQUAL, 1, 0, value), refuse]


def _not_masked(argument: int, mask: int, value: int) -> list[Instruction]:
    refuse = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    return [_load(argument), (_AND, 0, 0, mask), (_EQUAL, 0, 1, value), refuse]


def _one_of(argument: int, values: Sequence[int], error: int) -> list[Instruction]:
    tests = [(_EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [_load(argument), *tests, (_RETURN, 0, 0, _ERRNO | error), (_RETURN, 0, 0, _ALLOW)]
