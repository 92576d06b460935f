"""Advice on how to enable a sandbox tier that does not work on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rlkit.verify.sandbox import kernel, seccomp
from rlkit.verify.sandbox.job import Tier

_SWITCHES = {
    "kernel/unprivileged_userns_clone": ("0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    "kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give this Python an AppArmor profile with userns",
    ),
    "user/max_user_namespaces": ("0", "sysctl -w user.max_user_namespaces=10000"),
}
_IN_CONTAINER = (
    "in a container, allow user namespaces: docker run --security-opt seccomp=unconfined "
    "--security-opt apparmor=unconfined, or a seccomp profile that allows unshare, mount and pivot_root"
)


def advice(tier: Tier, reason: str, proc_sys: Path = Path("/proc/sys")) -> str:
    """One line for the user: how to make `tier` work, which does not work here because of `reason`."""
    if tier == "wasm":
        return "pip install 'rlkit[wasm]'"
    if sys.platform != "linux" or kernel.machine() not in seccomp.MACHINES:
        return "it needs Linux on x86-64 or aarch64"
    if "root cannot be given up" in reason:
        return "start as an ordinary user, or keep the capabilities SETUID and SETGID"
    if os.getuid() == 0 and "Permission denied" in reason:
        return f"put Python where every user may read it (it is in {sys.base_prefix}), or keep the capability SYS_ADMIN"
    if tier == "landlock":
        return (
            f"Linux 5.13 or newer with Landlock is needed (this is {os.uname().release}): lsm=landlock,... on the "
            "kernel's command line, and a container's seccomp profile that allows landlock_*"
        )
    switched_off = [fix for name, (off, fix) in _SWITCHES.items() if _read(proc_sys / name) == off]
    return "; ".join(switched_off) or f"Linux 5.12 or newer is needed (this is {os.uname().release}); {_IN_CONTAINER}"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
