"""Landlock: which files a process may touch, without any privilege (Linux 5.13 and newer). Standard library only."""

from __future__ import annotations

import os
import stat
import struct

from rlkit.verify.sandbox import kernel

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every processor
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG, _MAKE_SYM, _REFER = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 12, 1 << 13
_CHANGE_FOLDER = _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM | _REFER
_ALL_FS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""What a version can forbid; each takes the entry at or below it."""
_TCP, _SCOPES = 0b11, 0b11
"""From version 4: to bind and connect; from version 6: abstract Unix sockets and signals to processes outside."""


def version() -> int:
    """The kernel's version of Landlock, 1 or more.

    Raises:
        OSError: the kernel has none, or it is switched off.
    """
    return kernel.syscall("landlock_create_ruleset", _CREATE_RULESET, None, 0, _VERSION_FLAG)


class Ruleset:
    """What a process will still be allowed; all else that this version of Landlock can forbid is forbidden."""

    def __init__(self, abi: int) -> None:
        """`abi` is the result of `version()`."""
        self._handled = _ALL_FS[max(known for known in _ALL_FS if known <= abi)]
        attributes = struct.pack("=QQQ", self._handled, _TCP, _SCOPES)[: 8 if abi < 4 else 16 if abi < 6 else 24]
        self._ruleset = kernel.syscall("landlock_create_ruleset", _CREATE_RULESET, attributes, len(attributes), 0)

    def allow_reading(self, path: str | int) -> None:
        """A file, or a folder and all below it; by name or by a descriptor of it."""
        self._allow(path, _READ_FILE | _READ_DIR)

    def allow_listing(self, path: str) -> None:
        """The names in a folder and in all below it."""
        self._allow(path, _READ_DIR)

    def allow_writing(self, path: str) -> None:
        """Reading and writing a file that exists."""
        self._allow(path, _READ_FILE | _WRITE_FILE)

    def allow_all(self, path: str) -> None:
        """Everything below a folder, but no devices, sockets and pipes."""
        self._allow(path, _READ_FILE | _READ_DIR | _WRITE_FILE | _TRUNCATE | _CHANGE_FOLDER)

    def enforce(self) -> None:
        """Applies the rules to this process and those that it starts, for good; set `no_new_privs` before."""
        kernel.syscall("landlock_restrict_self", _RESTRICT_SELF, self._ruleset, 0)
        os.close(self._ruleset)

    def _allow(self, path: str | int, rights: int) -> None:
        """Adds a rule; a file has fewer rights than a folder."""
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC) if isinstance(path, str) else path
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _READ_FILE | _WRITE_FILE | _TRUNCATE
        rule = struct.pack("=Qi", rights & self._handled, descriptor)
        kernel.syscall("landlock_add_rule", _ADD_RULE, self._ruleset, _PATH_BENEATH, rule, 0)
        if isinstance(path, str):
            os.close(descriptor)
