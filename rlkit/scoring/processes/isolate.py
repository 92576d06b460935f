"""Finds the samples on which a part fails, so that the other samples of the group keep their scores.

When a part fails on a group, it scores each sample alone. Samples on which it fails are unscored. The others are scored
again together: a part that compares the samples of a group must not score them one by one.
"""

from __future__ import annotations

import traceback
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from rlkit.records import Group, Score
from rlkit.scoring.plugins.plugin import LoadedPart, Plugin
from rlkit.scoring.processes.scoring_call import FailedCall, Needs, Scores, ScoringCall

_LEAST_SHARE = 0.25
_MAX_REASON = 500
_MAX_TRACEBACK = 8000


def isolate_group(
    group: Group, needs: Needs, failed: FailedCall
) -> Generator[ScoringCall, Scores | FailedCall, dict[str, Scores]]:
    """Scores a group part by part after a call for all parts together `failed`. Returns the scores of every part.

    A generator: it yields each call to make and receives the outcome of that call.

    Args:
        group: with the scores of parts outside `needs` that these parts need.
        needs: the parts to run, in order, each with the parts whose scores it needs.
        failed: the failed call for all these parts.
    """
    scores: dict[str, Scores] = {}
    for name, needed in needs.items():
        known = {**group.scores, **scores}
        with_scores = replace(group, scores={need: known[need] for need in needed})
        # A single part is the one that failed; no need to call it again on the whole group.
        outcome: Scores | FailedCall = failed
        if len(needs) > 1:
            outcome = yield ScoringCall((name,), with_scores, alone=True)
        scores[name] = (yield from isolate(name, with_scores, outcome)) if isinstance(outcome, FailedCall) else outcome
    return scores


def isolate(part: str, group: Group, failed: FailedCall) -> Generator[ScoringCall, Scores | FailedCall, Scores]:
    """Scores a group by one part that `failed` on it: each sample alone, then together those that succeeded.

    A sample alone gets its fraction of the group's time limit, but at least a quarter: some parts take as long for one
    sample as for all.
    """
    num_samples = len(group.samples)
    if num_samples == 1:
        # The process may have died for a reason unrelated to the sample, so it gets a second try.
        if failed.verdict in ("crash", "timeout"):
            outcome = yield ScoringCall((part,), group, alone=True)
            return (_unscored(outcome),) if isinstance(outcome, FailedCall) else outcome
        return (_unscored(failed),)
    share = max(1 / num_samples, _LEAST_SHARE)
    failures: dict[int, FailedCall] = {}
    for i in range(num_samples):
        outcome = yield ScoringCall((part,), _only(group, [i]), share, alone=True)
        if isinstance(outcome, FailedCall):
            failures[i] = outcome
    well = [i for i in range(num_samples) if i not in failures]
    scores = {i: _unscored(failure) for i, failure in failures.items()}
    if well:
        outcome = yield ScoringCall((part,), _only(group, well), alone=True)
        if isinstance(outcome, FailedCall):
            together = replace(outcome, reason=f"{outcome.reason}; it fails on these samples together, on none alone")
            outcome = (_unscored(together),) * len(well)
        scores.update(zip(well, outcome, strict=True))
    return tuple(scores[i] for i in range(num_samples))


@dataclass(frozen=True)
class GuardedPlugin:
    """Wraps a plugin so that an exception leaves only the samples on which it is raised unscored.

    If the plugin runs out of memory, the whole group is unscored and the pool scores it again in a new process. The
    pool also handles what cannot be caught here: it kills a process that hangs and replaces one that died.
    """

    name: str
    inner: Plugin

    def score(self, group: Group) -> list[Score]:
        """The plugin's scores; None for samples on which it raises or returns no list of the right length."""
        outcome = self._try(group)
        if not isinstance(outcome, FailedCall):
            return list(outcome)
        if outcome.verdict == "memory":
            # The plugin may still hold the memory, so a retry in this process could fail on innocent samples.
            return [_unscored(outcome)] * len(group.samples)
        steps = isolate(self.name, group, outcome)
        try:
            call = next(steps)
            while True:
                call = steps.send(self._try(call.group))
        except StopIteration as end:
            return list(end.value)

    def score_groups(self, groups: Sequence[Group]) -> list[list[Score]]:
        """Scores several groups in one call of the plugin; if that fails, scores them one by one."""
        try:
            returned = self.inner.score_groups(groups)  # type: ignore[attr-defined]
        except MemoryError:
            return [[_unscored(self._out_of_memory())] * len(group.samples) for group in groups]
        # Not reported here: scoring the groups one by one raises it again for the group at fault.
        except (Exception, SystemExit):
            returned = None
        if isinstance(returned, list | tuple) and len(returned) == len(groups) and all(map(_fits, returned, groups)):
            return [list(scores) for scores in returned]
        return [self.score(group) for group in groups]

    def _try(self, group: Group) -> Scores | FailedCall:
        try:
            returned = self.inner.score(group)
        except MemoryError:
            return self._out_of_memory()
        # A plugin may raise anything, including SystemExit.
        except (Exception, SystemExit) as e:
            last = traceback.format_exception_only(e)[-1].strip()
            what = f"reward part {self.name!r} raised {last}{_place(e)}"[:_MAX_REASON]
            return FailedCall("plugin_error", what, _own_traceback(e))
        if _fits(returned, group):
            return tuple(returned)
        what = f"returned {type(returned).__name__}, not a list of scores"
        if isinstance(returned, list | tuple):
            what = f"returned {len(returned)} scores for {len(group.samples)} samples"
        return FailedCall("plugin_error", f"reward part {self.name!r} {what}")

    def _out_of_memory(self) -> FailedCall:
        return FailedCall("memory", f"reward part {self.name!r} took more than reward.runtime.memory_mb allows")


def guarded(parts: Sequence[LoadedPart]) -> list[LoadedPart]:
    """The parts, each with its plugin wrapped in a `GuardedPlugin`."""
    return [replace(part, plugin=GuardedPlugin(part.name, part.plugin)) for part in parts]


def _fits(returned: object, group: Group) -> bool:
    return isinstance(returned, list | tuple) and len(returned) == len(group.samples)


def _place(error: BaseException) -> str:
    """File and line of the deepest frame of the plugin's traceback, as " at FILE:LINE"."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" at {frames[-1].filename}:{frames[-1].lineno}" if len(frames) > 1 else ""


def _own_traceback(error: BaseException) -> str:
    """The traceback without rlkit's frame; a very long one loses its beginning."""
    first = error.__traceback__
    inner = first.tb_next if first is not None else None
    text = "".join(traceback.format_exception(type(error), error, inner or first))
    return text.rstrip()[-_MAX_TRACEBACK:]


def _only(group: Group, chosen: Sequence[int]) -> Group:
    scores = {name: tuple(all_scores[i] for i in chosen) for name, all_scores in group.scores.items()}
    return Group(group.task, tuple(group.samples[i] for i in chosen), scores)


def _unscored(failed: FailedCall) -> Score:
    return Score(None, failed.verdict, failed.reason, {"traceback": failed.traceback} if failed.traceback else None)
