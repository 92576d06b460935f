"""Sandboxes kept warm between jobs: one a thread at a time."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Literal

from rlkit.verify.sandbox.choose import open_sandbox
from rlkit.verify.sandbox.job import Sandbox, Tier

_idle: dict[tuple[int, str, tuple[str, ...]], list[Sandbox]] = {}
_lock = threading.Lock()


@contextlib.contextmanager
def lease(tier: Tier | Literal["auto"], packages: tuple[str, ...] = ()) -> Iterator[Sandbox]:
    """A warm sandbox for this thread alone; kept for the next one, unless an exception shows that it is broken."""
    # By process: a forked child must not share its parent's sockets.
    key = (os.getpid(), tier, packages)
    with _lock:
        idle = _idle.setdefault(key, [])
        sandbox = idle.pop() if idle else None
    if sandbox is None:
        sandbox = open_sandbox(tier)
    try:
        yield sandbox
    except BaseException:
        sandbox.close()
        raise
    with _lock:
        idle.append(sandbox)


@atexit.register
def _close_idle() -> None:
    """Closes idle sandboxes before this process ends; otherwise their keepers would do it a little later."""
    with _lock:
        idle = [sandbox for key, sandboxes in _idle.items() if key[0] == os.getpid() for sandbox in sandboxes]
        _idle.clear()
    for sandbox in idle:
        sandbox.close()
