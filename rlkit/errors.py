"""What rlkit raises.

    RlkitError                 exit code 1: the run failed
    |- UsageError              exit code 2: wrong use of a command
    |  |- RecipeError          a recipe key: file:line, key, value, what to do
    |  |- DataError            a row: file:line, reason
    |  `- PluginError          a reward plugin that cannot be loaded or built
    |- ClusterError            Ray, an actor or a deadline of ours
    |  `- ActorLost            one actor died or hangs: whoever can replace it does
    |     `- LearnerLost       a rank of the learner: the stage goes on from its newest checkpoint
    |- CheckpointError         a checkpoint cannot be written, or none can be used
    |- ParityError             engine and learner disagree after a weight sync
    |- ScoringError            a reward plugin fails on too many samples
    `- Stopped                 exit code 130: stopped by the user, state saved

A message is one sentence or two: what, where, why, what to do. A programmer's mistake is an `assert`, not one of these.
"""


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


class LearnerLost(ActorLost):
    """A rank of the learner died or hangs; the others were ended with it."""


class CheckpointError(RlkitError):
    """A checkpoint cannot be written, or none that is left can be used."""


class ParityError(RlkitError):
    """Log-probabilities of the engine and of the learner are further apart than the recipe allows."""


class ScoringError(RlkitError):
    """A reward part fails on more samples than the recipe allows."""


class Stopped(RlkitError):
    """The user asked to stop; what was done is kept."""

    exit_code = 130
