"""The system calls that Python has no function for. Linux, x86-64 and aarch64. Standard library only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x8, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 36, 38
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 0x1, 0x2, 0x4
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_MOUNT_SETATTR = 442
_FUTEX = {"x86_64": 202, "aarch64": 98}
_FUTEX_WAIT, _FUTEX_WAKE = 0, 1
_PROT_READ_WRITE, _MAP_SHARED, _MAP_FAILED = 0x3, 0x1, 2**64 - 1
_CAPABILITY_VERSION_3 = 0x20080522
_M_ARENA_MAX = -8
_THREAD_STACK, _PTHREAD_ATTRIBUTES_BYTES = 2 << 20, 64

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_size_t


def machine() -> str:
    """The processor's name as in the tables of system calls: "x86_64" or "aarch64"."""
    return platform.machine()


def check(name: str, result: int) -> int:
    """`result`, or OSError with the call's name where it is -1."""
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result


def syscall(name: str, number: int, *args: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """A system call by number; integers are passed as full words."""
    words = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    return check(name, _LIBC.syscall(ctypes.c_long(number), *words))


def prctl(option: int, *args: int | bytes) -> int:
    """prctl(2)."""
    words = [ctypes.c_ulong(arg) if isinstance(arg, int) else arg for arg in args]
    words += [ctypes.c_ulong(0)] * (4 - len(words))
    return check(f"prctl {option}", _LIBC.prctl(option, *words))


def unshare(flags: int) -> None:
    """unshare(2)."""
    check(f"unshare {flags:#x}", _LIBC.unshare(flags))


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """mount(2)."""
    kind_bytes = kind.encode() if kind else None
    result = _LIBC.mount(source.encode(), target.encode(), kind_bytes, ctypes.c_ulong(flags), data.encode())
    check(f"mount {kind or source} on {target}", result)


def unmount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    check(f"unmount {target}", _LIBC.umount2(target.encode(), flags))


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2)."""
    syscall("pivot_root", _PIVOT_ROOT[machine()], new.encode(), old.encode())


def make_readonly(target: str, devices: bool = False) -> None:
    """Makes a mount and all mounts below it read-only and without set-user-id bits (mount_setattr, Linux 5.12).

    It only adds flags, so it also works on mounts whose flags a user namespace may not take away.
    """
    attributes = _ATTR_RDONLY | _ATTR_NOSUID | (0 if devices else _ATTR_NODEV)
    packed = struct.pack("=QQQQ", attributes, 0, 0, 0)
    syscall("mount_setattr", _MOUNT_SETATTR, _AT_FDCWD, target.encode(), _AT_RECURSIVE, packed, len(packed))


def drop_capabilities() -> None:
    """Gives up every capability for good: `no_new_privs` keeps them from coming back."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    check("capset", _LIBC.capset(header, bytes(24)))


def set_hostname(name: str) -> None:
    """sethostname(2)."""
    check("sethostname", _LIBC.sethostname(name.encode(), ctypes.c_size_t(len(name.encode()))))


def save_address_space() -> None:
    """Smaller reservations, as a limit on address space counts them in full.

    One malloc arena instead of one a thread, of 64 MiB each, and threads with 2 MiB of stack instead of 8, unless a
    program asks for more. Only glibc reserves that much.
    """
    if hasattr(_LIBC, "mallopt") and hasattr(_LIBC, "pthread_setattr_default_np"):
        _LIBC.mallopt(_M_ARENA_MAX, 1)
        attributes = ctypes.create_string_buffer(_PTHREAD_ATTRIBUTES_BYTES)
        _LIBC.pthread_attr_init(attributes)
        _LIBC.pthread_attr_setstacksize(attributes, ctypes.c_size_t(_THREAD_STACK))
        _LIBC.pthread_setattr_default_np(attributes)


def die_with_parent() -> None:
    """This process gets SIGKILL when its parent ends."""
    prctl(PR_SET_PDEATHSIG, 9)


def map_shared(descriptor: int, size: int) -> int:
    """Address of a shared mapping; unlike `mmap.mmap` it keeps no descriptor."""
    length, offset = ctypes.c_size_t(size), ctypes.c_long(0)
    address = _LIBC.mmap(None, length, _PROT_READ_WRITE, _MAP_SHARED, descriptor, offset)
    if address == _MAP_FAILED:
        error = ctypes.get_errno()
        raise OSError(error, f"mmap: {os.strerror(error)}")
    return int(address)


def unmap(address: int, size: int) -> None:
    """munmap(2)."""
    check("munmap", _LIBC.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size)))


def futex_wait(address: int, value: int, seconds: float) -> None:
    """Sleeps while the 32-bit word at the address holds the value, at most that long; may wake early."""
    timeout = struct.pack("=qq", int(seconds), int(seconds % 1 * 1e9))
    # Another value, a signal and the end of the time are all answered by looking again.
    with contextlib.suppress(OSError):
        syscall("futex", _FUTEX[machine()], address, _FUTEX_WAIT, value, timeout, None, 0)


def futex_wake(address: int) -> None:
    """Wakes the process that waits at the address."""
    syscall("futex", _FUTEX[machine()], address, _FUTEX_WAKE, 1, None, None, 0)
