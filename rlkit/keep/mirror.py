"""A mirror: a copy of the run's folder on another file system, from which another machine can resume the run.

Every few seconds a background thread copies new files of the run's local folder to the mirror and deletes removed
ones, in an order that keeps the mirror resumable at any moment, wherever it is interrupted:

    all other files -> progress.json -> manifests of checkpoints;   deletions: manifests before other files

So every file that a manifest or progress.json refers to is uploaded before them, and a checkpoint without a manifest
does not count. The latest start of a run owns the mirror: an earlier start that still runs stops copying.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rlkit.disk import replaced_atomically, write_atomically
from rlkit.errors import MirrorError, RlkitError, Stopped, UsageError
from rlkit.keep.checkpoint import MANIFEST
from rlkit.keep.first_step import has_work, is_free, make_room, shows_work
from rlkit.keep.remote import PART, RemoteFolder
from rlkit.keep.runfiles import (
    PROGRESS,
    RECIPE,
    Stamp,
    checkpoint_of,
    is_manifest,
    position,
    progress_of,
    scan,
    stamp_of,
)
from rlkit.recipe.schema import RunKeys
from rlkit.watch.report import Report
from rlkit.watch.runlog import METRICS, RunLog

OWNER = "mirror-owner.json"
"""File in the mirror: which start owns it."""
INDEX = ".mirror.json"
"""File in the run's folder: which files were copied already."""
FETCHING = ".fetching"
"""File in the run's folder: a download of the run is in progress or was interrupted."""
RETRY_S, MAX_JOIN_S = 5.0, 1.0
"""Seconds between two retries at a run's end; maximum duration of a wait that delays a signal."""


class Mirror:
    """The mirror of a run (`run.mirror`). Does nothing if the recipe has none."""

    def __init__(self, keys: RunKeys, run_dir: Path, report: Report) -> None:
        """Raises UsageError if the file system is unknown or its package missing."""
        self._keys = keys
        self._run_dir = run_dir
        self._report = report
        self._remote = None if keys.mirror is None else RemoteFolder(f"{keys.mirror.rstrip('/')}/{keys.name}")
        self._start = uuid.uuid4().hex
        self._copied: dict[str, Stamp] = {}
        self._uploaded: set[str] = set()
        self._progress: bytes | None = None
        self._index = ""
        self._run_ended = threading.Event()
        self._lost_ownership = False
        self._is_complete = False

    def fetch(self, resume: str) -> None:
        """Downloads the run from the mirror if the mirror has more of it than the local folder.

        Raises:
            UsageError: The mirror contains another run or other files, or `resume` is "never" and it contains a run.
            MirrorError: The mirror cannot be read within run.mirror_timeout_s.
        """
        if self._remote is None:
            if (self._run_dir / RECIPE).exists():  # without a mirror, resume from the local files as they are
                (self._run_dir / FETCHING).unlink(missing_ok=True)
            return
        remote = self._remote
        with self._report.waiting(f"looking for the run in {remote.url}"):
            self._within_deadline("downloading the run from", lambda: self._fetch(remote, resume))

    @contextmanager
    def kept_up(self) -> Iterator[None]:
        """Copies new files to the mirror during the block, and the remaining ones after it.

        Raises:
            MirrorError: The mirror cannot be written, or not everything was copied within run.mirror_timeout_s.
        """
        if self._remote is None:
            yield
            return
        remote = self._remote
        self._within_deadline("writing to", lambda: self._claim(remote))
        thread = threading.Thread(target=self._copy_until_end, args=(remote, RunLog(self._run_dir)), daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            if incomplete := self._finish(thread, remote):
                self._report.line(str(incomplete))
            raise
        if incomplete := self._finish(thread, remote):
            raise incomplete

    def _finish(self, thread: threading.Thread, remote: RemoteFolder) -> RlkitError | None:
        """Waits until the remaining files are copied. Returns an error if the copy is incomplete, also after Ctrl-C."""
        what = f"not all of {self._run_dir} was copied to {remote.url}"
        try:
            self._run_ended.set()
            with self._report.waiting(f"copying the rest of the run to {remote.url}"):
                self._join(thread)
        except KeyboardInterrupt:
            return Stopped(f"{what}; run the same command again to retry")
        limit = f"run.mirror_timeout_s={self._keys.mirror_timeout_s:g}"
        done = self._is_complete or self._lost_ownership
        return None if done else MirrorError(f"{what} within {limit}; run the same command again to retry")

    def copy(self, remote: RemoteFolder) -> None:
        """Brings the mirror up to date with the run's folder, once.

        Raises:
            MirrorError: The file system failed; files that were copied before count.
        """
        if self._is_taken_over(remote):
            return
        # Scan, read progress.json, scan again: the second scan contains every file that progress.json or a manifest of
        # the first one refers to, although the run writes files meanwhile.
        before = scan(self._run_dir)
        progress_file = self._run_dir / PROGRESS
        progress = progress_file.read_bytes() if progress_file.exists() else None
        files = scan(self._run_dir)
        try:
            self._put(remote, {n: s for n, s in files.items() if not is_manifest(n) and n != PROGRESS})
            if self._is_taken_over(remote):
                return
            if progress is not None and progress != self._progress:
                remote.write(PROGRESS, progress)
                self._progress = progress
                self._uploaded.add(PROGRESS)
            self._put(remote, {n: s for n, s in before.items() if is_manifest(n) and n in files})
            # Only delete files that both scans miss: the replacement of one deleted since may not be uploaded yet.
            gone = self._uploaded - set(before) - set(files) - {OWNER}
            remote.remove(sorted(gone, key=lambda name: not is_manifest(name)))
            self._uploaded -= gone
        finally:
            self._save_index(remote)

    def _save_index(self, remote: RemoteFolder) -> None:
        index = json.dumps({"url": remote.url, "start": self._start, "files": self._copied})
        if index != self._index:
            write_atomically(self._run_dir / INDEX, index)
            self._index = index

    def _put(self, remote: RemoteFolder, files: dict[str, Stamp]) -> None:
        for name, stamp in files.items():
            if self._copied.get(name) == stamp and name in self._uploaded:
                continue
            path = self._run_dir / name
            try:
                remote.put(name, path)
            except MirrorError:
                if path.exists():
                    raise
                continue  # the run has deleted the file since the scan
            self._copied[name] = stamp
            self._uploaded.add(name)

    def _copy_until_end(self, remote: RemoteFolder, log: RunLog) -> None:
        """Copies every mirror_every_s seconds. After the run's end retries until the mirror is complete."""
        was_failing = False
        while not self._lost_ownership:
            is_last = self._run_ended.wait(self._keys.mirror_every_s)
            failed = self._copy_once(remote, log, was_failing)
            if is_last and not failed:
                self._is_complete = True
                break
            was_failing = failed
            if is_last:
                time.sleep(RETRY_S)
        if self._lost_ownership:
            self._log_event(log, "mirror_taken", f"a later start of this run owns {remote.url}: stopped copying to it")

    def _copy_once(self, remote: RemoteFolder, log: RunLog, was_failing: bool) -> bool:
        """Copies the run once and returns whether that failed. Reports the first failure and the recovery."""
        try:
            self.copy(remote)
        except (MirrorError, OSError) as e:
            if not was_failing:
                self._log_event(log, "mirror_failed", f"{e}; the run continues, and copying is retried")
            return True
        if was_failing:
            self._log_event(log, "mirror_works", f"copying to {remote.url} works again")
        return False

    def _log_event(self, log: RunLog, kind: str, text: str) -> None:
        log.event(kind, text)
        self._report.line(text)

    def _claim(self, remote: RemoteFolder) -> None:
        """Takes ownership of the mirror. Reuses the index of an earlier start on this machine if it was the owner."""
        found = remote.files()
        owner = str(remote.read_json(OWNER).get("start")) if OWNER in found else None
        index_file = self._run_dir / INDEX
        index = json.loads(index_file.read_text(encoding="utf-8")) if index_file.exists() else {}
        if index.get("url") == remote.url and owner is not None and index.get("start") == owner:
            known = {name: (int(size), int(time)) for name, (size, time) in index["files"].items()}
            self._copied = {n: stamp for n, stamp in known.items() if found.get(n) == stamp[0]} | self._copied
        self._uploaded = set(found)
        claim = {"start": self._start, "host": socket.gethostname(), "pid": os.getpid()}
        remote.write(OWNER, json.dumps(claim).encode())

    def _is_taken_over(self, remote: RemoteFolder) -> bool:
        """Whether a later start owns the mirror."""
        self._lost_ownership = self._lost_ownership or remote.read_json(OWNER).get("start") != self._start
        return self._lost_ownership

    def _fetch(self, remote: RemoteFolder, resume: str) -> None:
        found = remote.files()
        mirrored = remote.read_json(PROGRESS) if PROGRESS in found else None
        if mirrored is None or not shows_work(mirrored, found, remote.read(METRICS) if METRICS in found else b""):
            if found and OWNER not in found:
                raise UsageError(f"{remote.url} is not empty and contains no run: set another run.name or run.mirror")
            return  # nothing to resume: this start replaces what is there
        if resume == "never":
            raise UsageError(f"--resume never: {remote.url} already contains a run; set another run.name or run.mirror")
        local = progress_of(self._run_dir) if has_work(self._run_dir) else None
        was_interrupted = (self._run_dir / FETCHING).exists()
        if local is None and not was_interrupted and not is_free(self._run_dir):
            return  # `begin` raises the error for this folder
        if local is not None and local["run"] != mirrored["run"]:
            raise UsageError(f"{remote.url} and {self._run_dir} are different runs: set another run.name")
        is_usable = local is not None and not was_interrupted
        if is_usable and position(local or {}, scan(self._run_dir)) >= position(mirrored, found):
            return
        self._report.line(f"the run in {remote.url} is further than {self._run_dir}: downloading it")
        (self._run_dir / FETCHING).touch()
        if local is None and not was_interrupted:
            make_room(self._run_dir)
        self._download(remote, found)
        (self._run_dir / FETCHING).unlink()

    def _download(self, remote: RemoteFolder, found: Iterable[str]) -> None:
        """Downloads all files, in the order of uploads; recipe.yaml, which makes the folder a run, comes last."""
        manifests = sorted(name for name in found if is_manifest(name))
        others = [n for n in found if checkpoint_of(n) is None and n not in (OWNER, PROGRESS, RECIPE)]
        for name in [*others, PROGRESS]:
            if not name.endswith(PART):
                self._get(remote, name)
        for manifest in manifests:
            folder = str(checkpoint_of(manifest))
            self._get_checkpoint(remote, folder, [n for n in found if checkpoint_of(n) == folder])
        self._get(remote, RECIPE)

    def _get(self, remote: RemoteFolder, name: str) -> None:
        path = self._run_dir / name
        part = path.with_name(path.name + ".tmp")
        remote.get(name, part)
        os.replace(part, path)
        self._copied[name] = stamp_of(path)

    def _get_checkpoint(self, remote: RemoteFolder, folder: str, names: Iterable[str]) -> None:
        """Downloads a checkpoint atomically, unless the same one is on disk. A resume verifies its checksums later."""
        final = self._run_dir / folder
        manifest = final / MANIFEST
        if not manifest.exists() or manifest.read_bytes() != remote.read(f"{folder}/{MANIFEST}"):
            with replaced_atomically(final) as draft:
                for name in names:
                    remote.get(name, draft / Path(name).relative_to(folder))
        self._copied |= {name: stamp_of(self._run_dir / name) for name in names if (self._run_dir / name).exists()}

    def _within_deadline(self, what: str, work: Callable[[], None]) -> None:
        """Runs `work` in a thread; raises MirrorError after run.mirror_timeout_s and leaves the thread running."""
        failures: list[BaseException] = []

        def guarded() -> None:
            try:
                work()
            except BaseException as e:  # raised again below, in the calling thread
                failures.append(e)

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        self._join(thread)
        if failures:
            raise failures[0]
        if thread.is_alive():
            limit = f"run.mirror_timeout_s={self._keys.mirror_timeout_s:g}"
            raise MirrorError(f"{what} run.mirror={self._keys.mirror} took more than {limit}")

    def _join(self, thread: threading.Thread) -> None:
        """Joins a thread, for at most run.mirror_timeout_s."""
        deadline = time.monotonic() + self._keys.mirror_timeout_s
        # Join in short intervals: Python handles a signal that arrives just before a wait only after that wait.
        while thread.is_alive() and (left := deadline - time.monotonic()) > 0:
            thread.join(min(MAX_JOIN_S, left))
