"""Metrics sinks: where each row of metrics.jsonl goes besides, such as a tracker's server.

A sink is a class of anybody's, named in `tracking.sinks`. It works in a thread of its own: one that is slow, hangs or
raises costs the run neither a step nor its end.
"""

from __future__ import annotations

import inspect
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rlkit.errors import PluginError, did_you_mean
from rlkit.find import find_plugin
from rlkit.recipe.schema import SinkKeys, TrackingKeys

GROUP = "rlkit.sinks"
"""Entry-point group of sinks that packages bring."""
_END: dict[str, Any] = {}
"""Tells a sink's thread that no row follows."""


class MetricsSink(Protocol):
    """What a class has to have to be a sink; `close()`, where it has that too, is called at the run's end."""

    def log(self, row: Mapping[str, Any]) -> None:
        """Takes one row of metrics.jsonl: its "stage" and "step", and the step's metrics by name.

        A step that a resumed run does again comes again, with the same stage and step.
        """


def check_sinks(tracking: TrackingKeys, base_dir: Path) -> None:
    """Finds the sinks of a recipe and sees that they take their arguments; none is built.

    Args:
        tracking: The recipe's section.
        base_dir: The recipe's folder: `./file.py:Class` is beside it.

    Raises:
        PluginError: the sentence begins with the sink's key.
    """
    for where, keys in _named(tracking):
        _find(where, keys, base_dir)


def build_sinks(tracking: TrackingKeys, base_dir: Path) -> list[MetricsSink]:
    """The sinks of a recipe, built; as `check_sinks`."""
    built: list[MetricsSink] = []
    for where, keys in _named(tracking):
        found = _find(where, keys, base_dir)
        try:
            built.append(found(**keys.arguments))
        except Exception as e:  # a stranger's constructor may raise anything
            raise PluginError(f"{where}: {found.__name__} cannot be built: {type(e).__name__}: {e}") from e
    return built


def _named(tracking: TrackingKeys) -> Iterator[tuple[str, SinkKeys]]:
    yield from ((f"tracking.sinks.{i}", keys) for i, keys in enumerate(tracking.sinks))


def _find(where: str, keys: SinkKeys, base_dir: Path) -> Any:
    found = find_plugin(keys.plugin, base_dir, f"{where}.plugin", group=GROUP)
    if not callable(getattr(found, "log", None)):
        raise PluginError(f"{where}.plugin: {keys.plugin} has no method log(row), which a metrics sink needs")
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):  # a class written in C says nothing of its arguments
        return found
    known = [p.name for p in parameters]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for name in [] if takes_any else keys.arguments:
        if name not in known:
            hint = did_you_mean(name, known) or f"; it takes {', '.join(known) or 'none'}"
            raise PluginError(f"{where}.arguments.{name}: {found.__name__} has no such argument{hint}")
    for parameter in parameters:
        positional = parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if positional and parameter.default is parameter.empty and parameter.name not in keys.arguments:
            raise PluginError(f"{where}.arguments.{parameter.name}: {found.__name__} needs this argument")
    return found


class SinkThreads:
    """Sends rows to sinks, each in a thread of its own.

    Args:
        sinks: Where rows go.
        on_event: Hears of a sink's first failure, in the thread that calls `put` or `close`.
    """

    def __init__(self, sinks: Sequence[MetricsSink], on_event: Callable[[str, str], None]) -> None:
        self._threads = [_SinkThread(sink) for sink in sinks]
        self._on_event = on_event

    def put(self, row: Mapping[str, Any]) -> None:
        """Sends a row to every sink, and waits for none."""
        for thread in self._threads:
            thread.rows.put(dict(row))
        self._note_failures()

    def close(self, timeout_s: float) -> None:
        """Lets the sinks take the rows that are left and close; one that takes longer is left behind.

        Args:
            timeout_s: Longest wait for all of them, in seconds.
        """
        for thread in self._threads:
            thread.rows.put(_END)
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                text = f"{thread.name} had not taken all rows {timeout_s:g} s after the last (tracking.sink_timeout_s)"
                self._on_event("sink_late", text)
        self._note_failures()

    def _note_failures(self) -> None:
        for thread in self._threads:
            if thread.failure and not thread.failure_noted:
                thread.failure_noted = True
                self._on_event("sink_failed", f"{thread.name}: {thread.failure}; the run goes on")


class _SinkThread(threading.Thread):
    """One sink and its rows. A daemon: the process can end while it hangs."""

    def __init__(self, sink: MetricsSink) -> None:
        super().__init__(name=f"metrics sink {type(sink).__name__}", daemon=True)
        self.rows: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.failure = ""
        """Of its first failed call; later rows are sent all the same, since a server may come back."""
        self.failure_noted = False
        self._sink = sink
        self.start()

    def run(self) -> None:
        """Takes rows until the end."""
        while (row := self.rows.get()) is not _END:
            self._try(self._sink.log, row)
        if callable(close := getattr(self._sink, "close", None)):
            self._try(close)

    def _try(self, call: Callable[..., Any], *args: Any) -> None:
        try:
            call(*args)
        except Exception as e:  # a stranger's sink may raise anything
            self.failure = self.failure or f"{type(e).__name__}: {e}"
