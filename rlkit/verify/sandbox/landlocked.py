"""Tier "landlock", for machines that allow no namespaces: Landlock guards files, seccomp guards everything else.

The seccomp filter refuses the network, ptrace, changes of file metadata, and signals, limits and priorities of other
processes, because not every version of Landlock covers them. The work folder is on an ordinary file system without a
bound of its own, so the zygote counts its files while a job runs. Not covered: a program can learn whether a path
exists and when it was changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Mapping

from rlkit.verify.sandbox import boundary, folder, job_process, kernel, landlock, python_files, seccomp

_CHECK_EVERY_S = 0.01
"""Often, as a program can write a gigabyte a second."""
_SCRATCH = ("/tmp", "/var/tmp", "/dev/shm")
"""Where work folders may be made if the judge's own temporary folder is not writable."""


class FolderBoundary:
    """Tier "unsafe_none": a folder, limits, and where root starts it a user id of its own. It isolates nothing."""

    def __init__(self, packages: Mapping[str, str], scratch: str) -> None:
        """`packages`: where each entry of the packages that programs may import stands, by its name; `scratch`: the
        judge's folder for temporary files.
        """
        self._packages, self._scratch = packages, scratch
        self._base = self._work = ""
        self._proc = -1
        self._own_user = False
        self._kept: list[int] = []

    def enter(self) -> None:
        """Gives up root; Python's files that only root may read stay open as descriptors."""
        uid = boundary.job_uid()
        self._proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        opened = {path: os.open(path, os.O_PATH) for path in (*sys.path, *self._packages.values())}
        if uid is not None:
            self._own_user = True
            boundary.give_up_root(uid)
        reached = {path: self._way(path, descriptor) for path, descriptor in opened.items()}
        _move_imports({path: way for path, way in reached.items() if path != way})
        self._base = _new_folder(self._scratch, *_SCRATCH)
        # A folder that can be listed; the one where the packages are installed perhaps cannot.
        links = self._links = os.path.join(self._base, "packages")
        os.mkdir(links)
        for name, path in self._packages.items():
            os.symlink(reached[path], os.path.join(links, name))
        sys.path.append(links)
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)

    def _way(self, path: str, descriptor: int) -> str:
        """A path by which the file can still be read without root: its own, or one through an open descriptor."""
        if os.access(path, os.R_OK):
            os.close(descriptor)
            return path
        # A path through a descriptor passes no folder above it. The descriptor is O_PATH, so no job can read, write or
        # list it, and its number is above those that a job may use.
        kept = fcntl.fcntl(descriptor, fcntl.F_DUPFD, job_process.MAX_DESCRIPTORS)
        os.close(descriptor)
        self._kept.append(kept)
        return f"/proc/self/fd/{kept}"

    def prepare(self) -> None:
        """Makes this process the parent of orphans."""
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)

    def base_threads(self) -> int:
        """The keeper and the zygote; without a user id of their own all threads of this user."""
        return 2 if self._own_user else boundary.threads_of(os.getuid(), self._proc)

    def open_folder(self, limits: Mapping[str, float]) -> None:
        """A new folder."""
        self._work = os.path.join(self._base, "job")
        # A program of the same user may have changed these modes.
        os.chmod(self._base, 0o700)
        os.chmod(self._links, 0o700)
        os.mkdir(self._work, 0o700)

    def confine(self) -> None:
        """Enters the folder; this tier isolates nothing."""
        kernel.die_with_parent()
        os.chdir(self._work)
        job_process.close_the_rest(self._kept)

    def check_every_s(self) -> float | None:
        """A hundred times a second."""
        return _CHECK_EVERY_S

    def exceeded(self, pid: int, limits: Mapping[str, float]) -> str:
        """Checks the bytes written in total and the number of files."""
        with contextlib.suppress(OSError):
            # Standard output has a bound of its own.
            if folder.bytes_written(pid) > limits["disk_mb"] * 2**20 + limits["output_kb"] * 1024:
                return "disk"
        return self._too_many()

    def clean(self, limits: Mapping[str, float]) -> str:
        """Ends all children and removes the folder."""
        boundary.end_children()
        if not self._work:
            return ""
        os.chmod(self._base, 0o700)
        left = self._too_many() or ("disk" if folder.disk_bytes(self._work) > limits["disk_mb"] * 2**20 else "")
        folder.remove_folder(self._work)
        self._work = ""
        return left

    def _too_many(self) -> str:
        return "disk" if folder.count_files(self._work, boundary.MAX_FILES) > boundary.MAX_FILES else ""

    def address_space(self) -> int:
        """The zygote's."""
        return boundary.address_space(self._proc)

    def remove(self) -> None:
        """Ends the orphans of the zygote and removes the folder that held the work folders."""
        boundary.end_children()
        os.chmod(self._base, 0o700)
        folder.remove_folder(self._base)


def _new_folder(*places: str) -> str:
    """A new folder of this user's own in the first of the places where one can be made."""
    for place in places:
        folder = os.path.join(place, f"rlkit-{os.getpid()}-{os.urandom(8).hex()}")
        with contextlib.suppress(OSError):
            os.mkdir(folder, 0o700)
            return folder
    raise OSError(f"no folder can be made in {', '.join(places)}")


def _move_imports(moved: Mapping[str, str]) -> None:
    """Lets imports find their folders by other names: later modules, and the rest of packages imported before."""
    sys.path[:] = [moved.get(path, path) for path in sys.path]
    for module in list(sys.modules.values()):
        for path in getattr(module, "__path__", []):
            folder = next((old for old in moved if path.startswith(f"{old}/")), None)
            if folder is not None:
                module.__path__ = [moved[folder] + path.removeprefix(folder)]


class LandlockBoundary(FolderBoundary):
    """The tier's `Boundary`: two layers of rules.

    The first layer confines the zygote. It lists what may be read one by one, without the installed packages that lie
    among the standard library. The second layer confines one job: few rules, which take away /proc and all of /tmp but
    the job's folder.
    """

    def __init__(self, packages: Mapping[str, str], scratch: str) -> None:
        super().__init__(packages, scratch)
        self._abi = 0
        self._readable: list[int] = []

    def enter(self) -> None:
        """Opens the files that may be read, while this process may still have root's rights."""
        self._abi = landlock.version()
        self._zygote_rules = landlock.Ruleset(self._abi)
        paths = [*python_files.readable_paths(), *self._packages.values()]
        for path in filter(os.path.isdir, paths):
            self._zygote_rules.allow_listing(path)
        for path in python_files.without_installed(paths):
            self._zygote_rules.allow_reading(path)
        self._readable = [os.open(path, os.O_PATH) for path in paths]
        super().enter()

    def prepare(self) -> None:
        """Enforces the first layer."""
        super().prepare()
        for path in python_files.DEVICES:
            self._zygote_rules.allow_writing(path)
        self._zygote_rules.allow_reading("/proc")
        self._zygote_rules.allow_all(self._base)
        self._zygote_rules.enforce()

    def confine(self) -> None:
        """Enforces the second layer, and gives up all capabilities and all system calls that are not listed."""
        rules = landlock.Ruleset(self._abi)
        for descriptor in self._readable:
            rules.allow_reading(descriptor)
        for path in python_files.DEVICES:
            rules.allow_writing(path)
        rules.allow_all(self._work)
        rules.enforce()
        super().confine()
        kernel.drop_capabilities()
        seccomp.install(seccomp.filter_program(os.getpid(), modes=self._own_user, mounts=False))
