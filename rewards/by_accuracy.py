"""The score of parts that depend on accuracy, for replies whose accuracy has no value."""

from rlkit import Score


def without_accuracy(accuracy: Score) -> Score:
    """Not applicable if the accuracy is not applicable, else unscored."""
    if accuracy.applies:
        return Score(None, "unscored", "its accuracy is not known")
    return Score.not_applicable("its accuracy does not apply")
