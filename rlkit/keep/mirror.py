"""A copy of the run's folder on another file system, kept up in the background, that a fresh machine continues from.

The folder on disk stays the one that is worked in. Every few seconds what is new or gone in it is copied or deleted
there, in an order that makes the copy a run to continue from at any moment, wherever the copying is cut off:

    everything but what follows -> progress.json -> the manifests of checkpoints;   deleted: manifests before files

so whatever a checkpoint's manifest (without it a checkpoint does not count) or progress.json speaks of is there
before them. Whoever starts last owns the copy: an earlier start that still runs leaves it alone from then on.
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
"""There: which start owns the copy."""
INDEX = ".mirror.json"
"""Here: what was copied already."""
FETCHING = ".fetching"
"""Here: a run is being fetched into the folder."""
AGAIN_S, LISTEN_S = 5.0, 1.0
"""Seconds between two tries at a run's end; the longest wait that hears no signal."""


class Mirror:
    """`run.mirror` of a run; where the recipe has none, nothing happens."""

    def __init__(self, keys: RunKeys, run_dir: Path, report: Report) -> None:
        """Raises UsageError: the file system is unknown or its package missing."""
        self._keys = keys
        self._run_dir = run_dir
        self._report = report
        self._remote = None if keys.mirror is None else RemoteFolder(f"{keys.mirror.rstrip('/')}/{keys.name}")
        self._start = uuid.uuid4().hex
        self._copied: dict[str, Stamp] = {}
        self._there: set[str] = set()
        self._progress: bytes | None = None
        self._index = ""
        self._ended = threading.Event()
        self._taken = False
        self._whole = False

    def fetch(self, resume: str) -> None:
        """Brings the run's folder up to the copy where that is further.

        Raises:
            UsageError: the copy is of another run, or of no run at all, or `resume` is "never" and there is one.
            MirrorError: it cannot be read, or not within run.mirror_timeout_s.
        """
        if self._remote is None:
            if (self._run_dir / RECIPE).exists():  # who goes on without the copy goes on from what is here
                (self._run_dir / FETCHING).unlink(missing_ok=True)
            return
        remote = self._remote
        with self._report.waiting(f"looking for the run in {remote.url}"):
            self._within("fetching the run from", lambda: self._fetch(remote, resume))

    @contextmanager
    def kept_up(self) -> Iterator[None]:
        """Copies inside the block what is new; at its end the rest.

        Raises:
            MirrorError: the copy cannot be begun; or the block is done and the rest was not copied within
                run.mirror_timeout_s.
        """
        if self._remote is None:
            yield
            return
        remote = self._remote
        self._within("writing to", lambda: self._claim(remote))
        thread = threading.Thread(target=self._keep_up, args=(remote, RunLog(self._run_dir)), daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            if late := self._finish(thread, remote):
                self._report.line(str(late))
            raise
        if late := self._finish(thread, remote):
            raise late

    def _finish(self, thread: threading.Thread, remote: RemoteFolder) -> RlkitError | None:
        """Waits for what is left to copy, or for Ctrl-C; what to say where it was not all."""
        what = f"not all of {self._run_dir} was copied to {remote.url}"
        try:
            self._ended.set()
            with self._report.waiting(f"copying the rest of the run to {remote.url}"):
                self._await(thread)
        except KeyboardInterrupt:
            return Stopped(f"{what}; the same command tries again")
        limit = f"run.mirror_timeout_s={self._keys.mirror_timeout_s:g}"
        whole = self._whole or self._taken
        return None if whole else MirrorError(f"{what} within {limit}; the same command tries again")

    def copy(self, remote: RemoteFolder) -> None:
        """Brings the copy up to the folder, once.

        Raises:
            MirrorError: the file system fails; what was copied until then counts.
        """
        if self._lost(remote):
            return
        # In this order, so that nothing found later is missing from what was found before it.
        before = scan(self._run_dir)
        progress_file = self._run_dir / PROGRESS
        progress = progress_file.read_bytes() if progress_file.exists() else None
        files = scan(self._run_dir)
        try:
            self._put(remote, {n: s for n, s in files.items() if not is_manifest(n) and n != PROGRESS})
            if self._lost(remote):
                return
            if progress is not None and progress != self._progress:
                remote.write(PROGRESS, progress)
                self._progress = progress
                self._there.add(PROGRESS)
            self._put(remote, {n: s for n, s in before.items() if is_manifest(n) and n in files})
            # What went after the first look goes with the next one: its successor may not be there yet.
            gone = self._there - set(before) - set(files) - {OWNER}
            remote.remove(sorted(gone, key=lambda name: not is_manifest(name)))
            self._there -= gone
        finally:
            self._save_index(remote)

    def _save_index(self, remote: RemoteFolder) -> None:
        index = json.dumps({"url": remote.url, "start": self._start, "files": self._copied})
        if index != self._index:
            write_atomically(self._run_dir / INDEX, index)
            self._index = index

    def _put(self, remote: RemoteFolder, files: dict[str, Stamp]) -> None:
        for name, stamp in files.items():
            if self._copied.get(name) == stamp and name in self._there:
                continue
            path = self._run_dir / name
            try:
                remote.put(name, path)
            except MirrorError:
                if path.exists():
                    raise
                continue  # the run has deleted it meanwhile, and the next look sees that
            self._copied[name] = stamp
            self._there.add(name)

    def _keep_up(self, remote: RemoteFolder, log: RunLog) -> None:
        failing = False
        while not self._taken:
            ending = self._ended.wait(self._keys.mirror_every_s)
            failed = self._try(remote, log, failing)
            if ending and not failed:
                self._whole = True
                break
            failing = failed
            if ending:
                time.sleep(AGAIN_S)
        if self._taken:
            self._tell(log, "mirror_taken", f"a later start of this run has {remote.url}: nothing more is copied")

    def _try(self, remote: RemoteFolder, log: RunLog, failing: bool) -> bool:
        """Copies once; whether that failed, which is told when it begins and when it is over."""
        try:
            self.copy(remote)
        except (MirrorError, OSError) as e:
            if not failing:
                self._tell(log, "mirror_failed", f"{e}; the run goes on, and copying is tried again")
            return True
        if failing:
            self._tell(log, "mirror_works", f"copying to {remote.url} works again")
        return False

    def _tell(self, log: RunLog, kind: str, text: str) -> None:
        log.event(kind, text)
        self._report.line(text)

    def _claim(self, remote: RemoteFolder) -> None:
        """Takes the copy over, with what is known of it from an earlier start here."""
        found = remote.files()
        owner = str(remote.read_json(OWNER).get("start")) if OWNER in found else None
        index_file = self._run_dir / INDEX
        index = json.loads(index_file.read_text(encoding="utf-8")) if index_file.exists() else {}
        if index.get("url") == remote.url and owner is not None and index.get("start") == owner:
            known = {name: (int(size), int(time)) for name, (size, time) in index["files"].items()}
            self._copied = {n: stamp for n, stamp in known.items() if found.get(n) == stamp[0]} | self._copied
        self._there = set(found)
        claim = {"start": self._start, "host": socket.gethostname(), "pid": os.getpid()}
        remote.write(OWNER, json.dumps(claim).encode())

    def _lost(self, remote: RemoteFolder) -> bool:
        """Whether a later start owns the copy."""
        self._taken = self._taken or remote.read_json(OWNER).get("start") != self._start
        return self._taken

    def _fetch(self, remote: RemoteFolder, resume: str) -> None:
        found = remote.files()
        there = remote.read_json(PROGRESS) if PROGRESS in found else None
        if there is None or not shows_work(there, found, remote.read(METRICS) if METRICS in found else b""):
            if found and OWNER not in found:
                raise UsageError(f"{remote.url} is not empty and holds no run: give another run.name or run.mirror")
            return  # whatever starts here takes its place
        if resume == "never":
            raise UsageError(f"--resume never: {remote.url} already holds a run; give another run.name or run.mirror")
        here = progress_of(self._run_dir) if has_work(self._run_dir) else None
        cut_off = (self._run_dir / FETCHING).exists()
        if here is None and not cut_off and not is_free(self._run_dir):
            return  # `begin` says what is wrong with it
        if here is not None and here["run"] != there["run"]:
            raise UsageError(
                f"{remote.url} holds another run than {self._run_dir}: give another run.name, or move one of them away"
            )
        if here is not None and not cut_off and position(here, scan(self._run_dir)) >= position(there, found):
            return
        self._report.line(f"the run in {remote.url} is further than {self._run_dir}: fetching it")
        (self._run_dir / FETCHING).touch()
        if here is None and not cut_off:
            make_room(self._run_dir)
        self._download(remote, found)
        (self._run_dir / FETCHING).unlink()

    def _download(self, remote: RemoteFolder, found: Iterable[str]) -> None:
        """Everything of the copy, in the order of its writing; the recipe, which makes the folder a run, last."""
        manifests = sorted(name for name in found if is_manifest(name))
        first = [n for n in found if checkpoint_of(n) is None and n not in (OWNER, PROGRESS, RECIPE)]
        for name in [*first, PROGRESS]:
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
        """All files of a checkpoint, which is then whole or not there; it is checked before it is used."""
        final = self._run_dir / folder
        own = final / MANIFEST
        if not own.exists() or own.read_bytes() != remote.read(f"{folder}/{MANIFEST}"):
            with replaced_atomically(final) as draft:
                for name in names:
                    remote.get(name, draft / Path(name).relative_to(folder))
        self._copied |= {name: stamp_of(self._run_dir / name) for name in names if (self._run_dir / name).exists()}

    def _within(self, what: str, work: Callable[[], None]) -> None:
        """Does it in a thread, which is left alone where it takes too long."""
        failures: list[BaseException] = []

        def guarded() -> None:
            try:
                work()
            except BaseException as e:  # raised again below, where it is waited for
                failures.append(e)

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        self._await(thread)
        if failures:
            raise failures[0]
        if thread.is_alive():
            limit = f"run.mirror_timeout_s={self._keys.mirror_timeout_s:g}"
            raise MirrorError(f"{what} run.mirror={self._keys.mirror} took more than {limit}")

    def _await(self, thread: threading.Thread) -> None:
        """Until its end or the deadline; in short waits: a signal that comes just before one is heard only after it."""
        deadline = time.monotonic() + self._keys.mirror_timeout_s
        while thread.is_alive() and (left := deadline - time.monotonic()) > 0:
            thread.join(min(LISTEN_S, left))
