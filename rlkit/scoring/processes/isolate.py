"""Finds the samples on which a part fails: the others keep their scores.

A part that fails on a group is shown each sample alone. Those it fails on are left unscored, and the others are scored
again together, so that a part which compares a group's samples never takes a score from a sample alone.
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
    """Part after part over a group that could not be scored as a whole (`failed`); gives every part's scores.

    Yields calls and is sent what became of each. Scores of parts that are not among `needs` the group brings along.
    """
    scores: dict[str, Scores] = {}
    for name, needed in needs.items():
        known = {**group.scores, **scores}
        given = replace(group, scores={need: known[need] for need in needed})
        # Where there is one part, it is the one that failed.
        outcome: Scores | FailedCall = failed
        if len(needs) > 1:
            outcome = yield ScoringCall((name,), given, alone=True)
        scores[name] = (yield from isolate(name, given, outcome)) if isinstance(outcome, FailedCall) else outcome
    return scores


def isolate(part: str, group: Group, failed: FailedCall) -> Generator[ScoringCall, Scores | FailedCall, Scores]:
    """One part over a group on which it `failed`: each sample alone, then those that went well together.

    A sample alone has its share of the group's deadline, and at least a quarter of it: a part may take as long for one
    sample as for all.
    """
    num_samples = len(group.samples)
    if num_samples == 1:
        # What ended the process may have had nothing to do with the sample: a second loss is held against it.
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
            together = replace(outcome, reason=f"{outcome.reason}, on these samples together and on none alone")
            outcome = (_unscored(together),) * len(well)
        scores.update(zip(well, outcome, strict=True))
    return tuple(scores[i] for i in range(num_samples))


@dataclass(frozen=True)
class GuardedPlugin:
    """A plugin whose exceptions cost only the samples on which it raises.

    Where it runs out of memory the whole group is unscored, and the pool takes it to a fresh process; what cannot be
    caught, the pool ends from outside.
    """

    name: str
    inner: Plugin

    def score(self, group: Group) -> list[Score]:
        """The plugin's scores; None for the samples on which it raises, or returns no list of the right length."""
        outcome = self._try(group)
        if not isinstance(outcome, FailedCall):
            return list(outcome)
        if outcome.verdict == "memory":
            # The plugin may hold on to what it has: what is tried in this process now fails for no fault of its own.
            return [_unscored(outcome)] * len(group.samples)
        steps = isolate(self.name, group, outcome)
        try:
            call = next(steps)
            while True:
                call = steps.send(self._try(call.group))
        except StopIteration as end:
            return list(end.value)

    def score_groups(self, groups: Sequence[Group]) -> list[list[Score]]:
        """The scores of several groups in one call of the plugin; where that fails, group by group."""
        try:
            returned = self.inner.score_groups(groups)  # type: ignore[attr-defined]
        except MemoryError:
            return [[_unscored(self._out_of_memory())] * len(group.samples) for group in groups]
        # As below: whatever it raises shows again where the groups are scored one by one.
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
        # A plugin may raise anything, SystemExit too.
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
    """The parts, with each plugin guarded."""
    return [replace(part, plugin=GuardedPlugin(part.name, part.plugin)) for part in parts]


def _fits(returned: object, group: Group) -> bool:
    return isinstance(returned, list | tuple) and len(returned) == len(group.samples)


def _place(error: BaseException) -> str:
    """Where the plugin's own code raised: the deepest frame."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" at {frames[-1].filename}:{frames[-1].lineno}" if len(frames) > 1 else ""


def _own_traceback(error: BaseException) -> str:
    """The traceback without the frame that called the plugin; of a very long one the end."""
    first = error.__traceback__
    inner = first.tb_next if first is not None else None
    text = "".join(traceback.format_exception(type(error), error, inner or first))
    return text.rstrip()[-_MAX_TRACEBACK:]


def _only(group: Group, chosen: Sequence[int]) -> Group:
    scores = {name: tuple(all_scores[i] for i in chosen) for name, all_scores in group.scores.items()}
    return Group(group.task, tuple(group.samples[i] for i in chosen), scores)


def _unscored(failed: FailedCall) -> Score:
    return Score(None, failed.verdict, failed.reason, {"traceback": failed.traceback} if failed.traceback else None)
