"""Tier "namespaces": a user namespace of its own, with mounts, network, IPC, host name and process ids of its own.

The root is an empty file system that holds read-only mounts of what Python needs: no /proc, no /sys, no home, four
devices. The zygote is process 1 in there. A job gets a new /tmp of bounded size. When it has ended, process 1 kills all
other processes at once, which no fork can outrun. A program has no rights over these namespaces: it has no capability,
and the seccomp filter refuses mount, unshare, sockets and IPC. So the namespaces can be made once, and not once a job.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Mapping

from rlkit.verify.sandbox import boundary, job_process, kernel, python_files, seccomp

_UID = 1000
"""The user id of programs, as they see it."""
_NAMESPACES = (
    kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWNS
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWCGROUP
)
_OLD_ROOT = "/old"
_WORK, _OTHER_WORK = "/tmp", "/scratch"


class NamespaceBoundary:
    """The tier's `Boundary`."""

    def __init__(self, packages: Mapping[str, str]) -> None:
        """`packages`: where each entry of the packages that programs may import stands, by its name."""
        self._packages = packages
        self._mounted, self._work = False, _WORK
        self._proc = self._counted_user = -1

    def enter(self) -> None:
        """Enters the namespaces.

        Root makes the mounts first, since a Python may be readable for root only, and is given up before all else.
        """
        uid = boundary.job_uid()
        self._proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        readable, has_root = python_files.readable_paths(), False
        if any(path.startswith(f"{_WORK}/") for path in readable):  # a Python that a mount there would hide
            self._work = _OTHER_WORK
        if uid is not None:
            # Root without CAP_SYS_ADMIN, as in a container, does as an ordinary user does.
            with contextlib.suppress(PermissionError):
                kernel.unshare(kernel.CLONE_NEWNS)
                has_root = True
            if has_root:
                self._make_root(readable)
            boundary.give_up_root(uid)
        outside = os.getuid(), os.getgid()
        if uid is None and not _counts_by_namespace():
            self._counted_user = outside[0]
        kernel.unshare(_NAMESPACES)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{_UID} {outside[0]} 1"),
            ("gid_map", f"{_UID} {outside[1]} 1"),
        ):
            _write(self._proc, f"self/{name}", text)
        if not has_root:
            self._make_root(readable)
        kernel.set_hostname("sandbox")

    def prepare(self) -> None:
        """Hides the zygote's memory from programs, which run under the same user id."""
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        sys.path.append(python_files.PACKAGES)

    def base_threads(self) -> int:
        """The keeper and the zygote; on kernels that count a user across namespaces, all threads of this user."""
        return 2 if self._counted_user < 0 else boundary.threads_of(self._counted_user, self._proc)

    def open_folder(self, limits: Mapping[str, float]) -> None:
        """A new file system in memory."""
        # A size of 0 would mean no limit.
        size = max(1, int(limits["disk_mb"] * 2**20))
        bounds = f"size={size},nr_inodes={boundary.MAX_FILES},mode=700"
        kernel.mount("tmpfs", self._work, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, bounds)
        self._mounted = True

    def confine(self) -> None:
        """Gives up all capabilities and all system calls that are not listed."""
        os.chdir(self._work)
        job_process.close_the_rest()
        kernel.drop_capabilities()
        seccomp.install(seccomp.filter_program(os.getpid(), modes=True, mounts=True))

    def check_every_s(self) -> None:
        """The kernel holds every bound."""

    def exceeded(self, pid: int, limits: Mapping[str, float]) -> str:
        """Always "": the kernel refuses what is beyond a bound."""
        return ""

    def clean(self, limits: Mapping[str, float]) -> str:
        """Kills all other processes: this is process 1, so they all belong to the job."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, 9)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
        if self._mounted:
            kernel.unmount(self._work)
            self._mounted = False
        return ""

    def address_space(self) -> int:
        """The zygote's."""
        return boundary.address_space(self._proc)

    def remove(self) -> None:
        """Nothing to do: the mounts ended with the last process."""

    def _make_root(self, readable: list[str]) -> None:
        """Makes the new root: an empty file system with read-only mounts, and makes the old one unreachable."""
        kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        kernel.mount("tmpfs", _WORK, "tmpfs", kernel.MS_NOSUID, "size=1m,mode=755")
        os.mkdir(_WORK + _OLD_ROOT)
        kernel.pivot_root(_WORK, _WORK + _OLD_ROOT)
        os.chdir("/")
        for path in readable:
            _bind(_OLD_ROOT + path, path)
            for installed in python_files.installed_packages(path):
                kernel.mount("tmpfs", installed, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "nr_inodes=1,mode=555")
                kernel.make_readonly(installed)
        os.mkdir(python_files.PACKAGES)
        for name, path in self._packages.items():
            _bind(_OLD_ROOT + path, f"{python_files.PACKAGES}/{name}")
        for path in python_files.DEVICES:
            _bind(_OLD_ROOT + path, path, devices=True)
        for name in os.listdir(_OLD_ROOT):
            # /lib64 -> usr/lib64, by whose name programs were linked.
            if name.startswith("lib") and os.path.islink(f"{_OLD_ROOT}/{name}"):
                os.symlink(os.readlink(f"{_OLD_ROOT}/{name}"), f"/{name}")
        os.makedirs(self._work, exist_ok=True)
        kernel.unmount(_OLD_ROOT, kernel.MNT_DETACH)
        os.rmdir(_OLD_ROOT)
        kernel.make_readonly("/", devices=True)


def _counts_by_namespace() -> bool:
    """Whether RLIMIT_NPROC counts a user's threads in each user namespace apart: from Linux 5.14 on."""
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return version is not None and (int(version[1]), int(version[2])) >= (5, 14)


def _bind(source: str, target: str, devices: bool = False) -> None:
    """Mounts a file or folder read-only at another place."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    kernel.mount(source, target, None, kernel.MS_BIND | kernel.MS_REC)
    kernel.make_readonly(target, devices)


def _write(folder: int, name: str, text: str) -> None:
    descriptor = os.open(name, os.O_WRONLY, dir_fd=folder)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
