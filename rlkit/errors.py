"""What rlkit raises.

    RlkitError                 exit code 1: the run failed
    |- UsageError              exit code 2: wrong use of a command
    |  |- RecipeError          a recipe key: file:line, key, value, what to do
    |  |- DataError            a row: file:line, reason
    |  `- PluginError          a reward plugin that cannot be loaded or built
    |- ClusterError            Ray, an actor or a deadline of ours
    |  |- ActorLost            one actor died or hangs: whoever can replace it does
    |  |  `- LearnerLost       a rank of the learner, or its weights: the stage goes on from its newest checkpoint
    |  `- ValueLost            a value in the object store is gone with its node
    |- CheckpointError         a checkpoint cannot be written, or none can be used
    |- MirrorError             the file system that the run is copied to does not work
    |- ParityError             engine and learner disagree after a weight sync
    |- ScoringError            a reward plugin fails on too many samples
    `- Stopped                 exit code 130: stopped by the user, state saved

A message is one sentence or two: what, where, why, what to do. A programmer's mistake is an `assert`, not one of these.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RlkitError(Exception):
    """Something a user can act on; printed as one line, without a traceback unless --debug."""

    exit_code = 1


class UsageError(RlkitError):
    """The command, its arguments or its input are wrong."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe, or an override of one, is wrong."""


class DataError(UsageError):
    """A data source or a row of it is wrong."""


class PluginError(UsageError):
    """A reward plugin cannot be found, imported or constructed."""


class ClusterError(RlkitError):
    """Ray did not start, an actor died or a deadline passed."""


class ActorLost(ClusterError):
    """One actor died, its node went, or it did not answer within its deadline."""


class ActorDied(ActorLost):
    """An actor whose process or node is gone: another one may do better, where one that is late would not."""


class LearnerLost(ActorLost):
    """A rank of the learner died or hangs, and the others were ended with it; or the weights it published are gone."""


class ValueLost(ClusterError):
    """What a call was given through the object store went with the node that held it."""


class MirrorError(RlkitError):
    """What run.mirror names cannot be listed, read or written, or not in time."""


class CheckpointError(RlkitError):
    """A checkpoint cannot be written, or none that is left can be used."""


class ParityError(RlkitError):
    """Log-probabilities of the engine and of the learner are further apart than the recipe allows."""


class ScoringError(RlkitError):
    """A reward part fails on more samples than the recipe allows."""


class Stopped(RlkitError):
    """The user asked to stop; what was done is kept."""

    exit_code = 130


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word most like `word`, upper and lower case alike, or None where none is at least `cutoff` like it."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """A message's end for a wrong word: `; did you mean 'x'?`, or nothing where no known word is near."""
    near = nearest(word, known, cutoff)
    return f"; did you mean {near!r}?" if near else ""
