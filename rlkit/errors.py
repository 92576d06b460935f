"""The exceptions that rlkit raises.

    RlkitError                 exit code 1: the run failed
    |- UsageError              exit code 2: wrong use of a command
    |  |- RecipeError          a recipe key: file:line, key, value, what to do
    |  |- DataError            a row: file:line, reason
    |  `- PluginError          a reward plugin that cannot be loaded or built
    |- ClusterError            Ray did not start, an actor failed or a deadline passed
    |  |- ActorLost            one actor died or does not respond; it may be replaced
    |  |  |- ActorDied         its process or node is gone
    |  |  `- LearnerLost       a learner rank or its weights are lost; the stage resumes from its newest checkpoint
    |  `- ValueLost            a value in the object store was lost with its node
    |- CheckpointError         a checkpoint cannot be written, or none can be read
    |- MirrorError             the file system of run.mirror does not work
    |- ParityError             engine and learner compute different log-probabilities after a weight sync
    |- ScoringError            a reward plugin fails on too many samples
    `- Stopped                 exit code 130: stopped by the user, state saved

A message is one or two sentences: what, where, why, what to do. A programming error is an `assert`, not one of these.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RlkitError(Exception):
    """An error that the user can act on. The command line prints it as one line, with a traceback only for --debug."""

    exit_code = 1


class UsageError(RlkitError):
    """The command, its arguments or its input are wrong."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe or an override is invalid."""


class DataError(UsageError):
    """A data source or one of its rows is invalid."""


class PluginError(UsageError):
    """A reward plugin cannot be found, imported or constructed."""


class ClusterError(RlkitError):
    """Ray did not start, an actor died or a deadline passed."""


class ActorLost(ClusterError):
    """One actor died, its node was lost, or it did not answer within its deadline."""


class ActorDied(ActorLost):
    """An actor's process or node is gone. A retry on another actor can help, unlike after a missed deadline."""


class LearnerLost(ActorLost):
    """A learner rank died or hangs, and the other ranks were stopped too; or the weights it published are lost."""


class ValueLost(ClusterError):
    """An argument of a call was in the object store of a node that was lost."""


class MirrorError(RlkitError):
    """The folder at run.mirror cannot be listed, read or written, or not within the deadline."""


class CheckpointError(RlkitError):
    """A checkpoint cannot be written, or no valid checkpoint is left."""


class ParityError(RlkitError):
    """Log-probabilities of engine and learner differ by more than rollout.parity_limit."""


class ScoringError(RlkitError):
    """A reward part fails on more samples than reward.runtime.max_unscored allows."""


class Stopped(RlkitError):
    """The user stopped the run; its state is saved."""

    exit_code = 130


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word most similar to `word`, ignoring case; None if none has a similarity of at least `cutoff`."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The end of a message about an unknown word: `; did you mean 'x'?`, or "" if no known word is similar."""
    near = nearest(word, known, cutoff)
    return f"; did you mean {near!r}?" if near else ""
