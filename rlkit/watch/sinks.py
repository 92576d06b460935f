"""Metrics sinks: user classes, named in `tracking.sinks`, that also get each row of metrics.jsonl.

For example, a sink can send rows to an experiment tracker. Each sink runs in its own thread, so one that is slow, hangs
or raises neither delays nor fails the run.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rlkit.errors import PluginError, did_you_mean
from rlkit.find import find_plugin, signature_of
from rlkit.recipe.schema import SinkKeys, TrackingKeys

GROUP = "rlkit.sinks"
"""Entry-point group of sinks in installed packages."""
_END: dict[str, Any] = {}
"""Sentinel in a sink's queue: no row follows."""


class MetricsSink(Protocol):
    """The interface of a sink. If it also has a method `close()`, the run calls it at the end."""

    def log(self, row: Mapping[str, Any]) -> None:
        """Logs one row of metrics.jsonl: "stage", "step", and the step's metrics by name.

        A resumed run logs the steps that it repeats again, with the same stage and step.
        """


def check_sinks(tracking: TrackingKeys, base_dir: Path) -> None:
    """Checks that the sinks of a recipe exist and accept their arguments, without constructing them.

    Args:
        tracking: The recipe's section.
        base_dir: The recipe's folder, which `./file.py:Class` is relative to.

    Raises:
        PluginError: A sink cannot be found or used; the message begins with its key.
    """
    for where, keys in _named(tracking):
        _find(where, keys, base_dir)


def build_sinks(tracking: TrackingKeys, base_dir: Path) -> list[MetricsSink]:
    """Constructs the sinks of a recipe. Arguments and errors as for `check_sinks`."""
    built: list[MetricsSink] = []
    for where, keys in _named(tracking):
        found = _find(where, keys, base_dir)
        try:
            built.append(found(**keys.arguments))
        except Exception as e:  # a user's constructor may raise anything
            raise PluginError(f"{where}: {found.__name__} cannot be constructed: {type(e).__name__}: {e}") from e
    return built


def _named(tracking: TrackingKeys) -> Iterator[tuple[str, SinkKeys]]:
    yield from ((f"tracking.sinks.{i}", keys) for i, keys in enumerate(tracking.sinks))


def _find(where: str, keys: SinkKeys, base_dir: Path) -> Any:
    found = find_plugin(keys.plugin, base_dir, f"{where}.plugin", group=GROUP)
    if not callable(getattr(found, "log", None)):
        raise PluginError(f"{where}.plugin: {keys.plugin} has no method log(row), which a metrics sink needs")
    if (signature := signature_of(found)) is None:
        return found
    for name in keys.arguments:
        if name not in signature.names and not signature.takes_any:
            hint = did_you_mean(name, signature.names) or f"; it takes {', '.join(signature.names) or 'none'}"
            raise PluginError(f"{where}.arguments.{name}: {found.__name__} has no such argument{hint}")
    for name in signature.required:
        if name not in keys.arguments:
            raise PluginError(f"{where}.arguments.{name}: {found.__name__} needs this argument")
    return found


class SinkThreads:
    """Sends rows to sinks, each in its own thread.

    Args:
        sinks: The sinks.
        on_event: Called with (kind, text) at a sink's first failure, in the thread that calls `put` or `close`.
    """

    def __init__(self, sinks: Sequence[MetricsSink], on_event: Callable[[str, str], None]) -> None:
        self._threads = [_SinkThread(sink) for sink in sinks]
        self._on_event = on_event

    def put(self, row: Mapping[str, Any]) -> None:
        """Queues a row for every sink, without waiting."""
        for thread in self._threads:
            thread.rows.put(dict(row))
        self._report_failures()

    def close(self, timeout_s: float) -> None:
        """Waits until the sinks have logged the remaining rows and closed; abandons those that take longer.

        Args:
            timeout_s: Deadline for all of them, in seconds.
        """
        for thread in self._threads:
            thread.rows.put(_END)
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                text = f"{thread.name} had not logged all rows after tracking.sink_timeout_s={timeout_s:g} s"
                self._on_event("sink_late", text)
        self._report_failures()

    def _report_failures(self) -> None:
        for thread in self._threads:
            if thread.failure and not thread.failure_reported:
                thread.failure_reported = True
                self._on_event("sink_failed", f"{thread.name}: {thread.failure}; the run continues")


class _SinkThread(threading.Thread):
    """One sink and its queue of rows. A daemon thread, so that a sink that hangs does not keep the process alive."""

    def __init__(self, sink: MetricsSink) -> None:
        super().__init__(name=f"metrics sink {type(sink).__name__}", daemon=True)
        self.rows: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.failure = ""
        """Error of its first failed call. Later rows are sent anyway: a server may become available again."""
        self.failure_reported = False
        self._sink = sink
        self.start()

    def run(self) -> None:
        """Logs rows until the sentinel."""
        while (row := self.rows.get()) is not _END:
            self._try(self._sink.log, row)
        if callable(close := getattr(self._sink, "close", None)):
            self._try(close)

    def _try(self, call: Callable[..., Any], *args: Any) -> None:
        try:
            call(*args)
        except Exception as e:  # a user's sink may raise anything
            self.failure = self.failure or f"{type(e).__name__}: {e}"
