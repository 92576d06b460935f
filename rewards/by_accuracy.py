"""What parts that pay by a reply's accuracy say where it has no value."""

from rlkit import Score


def without_accuracy(accuracy: Score) -> Score:
    """The score of such a part: not graded where accuracy was not graded, not applicable where accuracy is not."""
    if accuracy.applies:
        return Score(None, "unscored", "its accuracy is not known")
    return Score.not_applicable("its accuracy does not apply")
