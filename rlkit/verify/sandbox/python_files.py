"""The files that a Python program needs: standard library, shared libraries, allowed packages."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator

PACKAGES = "/packages"
"""Path of allowed packages in a sandbox that has its own root."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_OTHERS = ("/etc/ld.so.cache", "/usr/share/zoneinfo")
"""Files outside of Python that it reads: where shared libraries are, and time zones."""
_INSTALLED = ("site-packages", "dist-packages")


def standard_library(search: Iterable[str]) -> list[str]:
    """The parts of the standard library (folders, perhaps an archive) on an import path without packages."""
    return [os.path.realpath(path) for path in search if os.path.exists(path)]


def shared_libraries() -> list[str]:
    """Folders of the shared libraries that this process and its extension modules use."""
    with open("/proc/self/maps") as f:
        paths = {line.split(maxsplit=5)[-1].strip() for line in f if " r-xp " in line}
    found = {os.path.dirname(os.path.realpath(path)) for path in paths if ".so" in os.path.basename(path)}
    # On systems where /lib is no link to /usr/lib, a library may be in either.
    found |= {f"/usr{path}" for path in found if path.startswith("/lib")}
    # A Python outside of /usr brings libraries that modules which are not loaded yet may need.
    if sys.base_prefix not in ("/", "/usr"):
        found.add(os.path.join(os.path.realpath(sys.base_prefix), "lib"))
    return sorted(path for path in found if os.path.isdir(path))


def readable_paths() -> list[str]:
    """The paths that a program may read besides packages, none of them below another one."""
    paths = {*sys.path, *shared_libraries(), *filter(os.path.exists, _OTHERS)}
    return sorted(path for path in paths if not any(path.startswith(f"{other}/") for other in paths))


def installed_packages(path: str) -> list[str]:
    """Folders of installed packages below a folder of libraries; a program may read those only that its job allows."""
    return [found for name in _INSTALLED for depth in ("", "*/") for found in glob.glob(f"{path}/{depth}{name}")]


def without_installed(paths: Iterable[str]) -> Iterator[str]:
    """The same files without installed packages: a folder that holds some becomes the list of its other entries."""
    for path in paths:
        installed = {found for found in installed_packages(path) if os.listdir(found)}
        above = {path, *map(os.path.dirname, installed)} if installed else set()
        entries = (os.path.join(folder, name) for folder in above for name in os.listdir(folder))
        yield from (entry for entry in entries if entry not in above | installed)
        if not installed:
            yield path
