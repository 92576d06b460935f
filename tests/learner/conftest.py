"""Two learner ranks in processes of their own, for every test that needs them."""

import pytest

from tests.learner.processes import RankProcesses


class Kept:
    """The ranks, made when they are first wanted, and anew where a test has lost one."""

    processes: RankProcesses | None = None


@pytest.fixture(scope="session")
def kept_ranks():
    kept = Kept()
    yield kept
    if kept.processes is not None:
        kept.processes.close()


@pytest.fixture
def two_ranks(kept_ranks):
    if kept_ranks.processes is not None and not kept_ranks.processes.alive:
        kept_ranks.processes.close()
        kept_ranks.processes = None
    if kept_ranks.processes is None:
        kept_ranks.processes = RankProcesses(2)
    return kept_ranks.processes
