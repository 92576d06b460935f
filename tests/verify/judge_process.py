"""A judge in a process of its own: `python judge_process.py TIER [UID]`. A JSON job a line in, an outcome a line out.

With a UID it becomes that user first; root's own Python is made readable for it, by mounts that only it sees.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from rlkit.verify.sandbox import kernel  # noqa: E402
from rlkit.verify.sandbox.job import Job, Limits, SandboxError  # noqa: E402
from rlkit.verify.sandbox.zygote_client import ZygoteSandbox  # noqa: E402


def become(uid: int) -> None:
    """Gives up root; what this Python needs can still be read."""
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    needed = [os.path.realpath(path) for path in (sys.base_prefix, sys.prefix, ROOT)]
    closed = {path: folder for path in needed if (folder := closed_folder(path))}
    for folder in set(closed.values()):
        inside = [path for path in closed if closed[path] == folder]
        kept = [tempfile.mkdtemp() for _ in inside]
        for path, place in zip(inside, kept, strict=True):
            kernel.mount(path, place, None, kernel.MS_BIND | kernel.MS_REC)
        kernel.mount("tmpfs", folder, "tmpfs", 0, "mode=755")
        for path, place in zip(inside, kept, strict=True):
            os.makedirs(path)
            kernel.mount(place, path, None, kernel.MS_BIND | kernel.MS_REC)
            kernel.unmount(place)
            os.rmdir(place)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def closed_folder(path: str) -> str:
    """The topmost folder on the way that others may not pass, or ""."""
    above = reversed([path, *map(str, Path(path).parents)])
    return next((folder for folder in above if not os.stat(folder).st_mode & 1), "")


def serve(tier: str) -> None:
    """Until the end of its input."""
    sandbox = ZygoteSandbox(tier)
    for line in sys.stdin:
        job = json.loads(line)
        limits = Limits(**job.get("limits", {}))
        try:
            request = {"mode": "stdin", "program": job["program"]}
            running = sandbox.start(Job(request, limits, job.get("stdin", "").encode(), tuple(job.get("packages", ()))))
            running.wait()
            outcome = running.finish()
            answer = {**outcome.__dict__, "stdout": outcome.stdout.decode(errors="replace")}
        except SandboxError as e:
            answer = {"error": str(e)}
        print(json.dumps(answer), flush=True)
    sandbox.close()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        become(int(sys.argv[2]))
        os.execv(sys.executable, [sys.executable, "-P", __file__, sys.argv[1]])
    serve(sys.argv[1])
