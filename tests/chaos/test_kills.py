"""The contract of exact resume in every variant: killed at random moments and continued, a run stays the same run."""

import pytest

from tests.chaos.kills import VARIANTS, Series

KILLS = 6
"""Of each variant here; `python -m tests.chaos.kills` does as many as it is told."""


def killed(tmp_path, variant, *, kills=KILLS, seed=0, only_driver=False):
    lines = []
    outcome = Series(tmp_path, variant, seed, lines.append).run(kills, only_driver)
    assert len(outcome.kills) == kills
    assert outcome.runs > 0
    assert not outcome.problems, "\n".join(lines)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_that_is_killed_again_and_again_ends_bitwise_equal(tmp_path, variant):
    killed(tmp_path, variant)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_command_alone_is_killed_and_given_again_at_once(tmp_path):
    killed(tmp_path, "plain", only_driver=True)
