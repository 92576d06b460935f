"""Two learner ranks in processes of their own, for every test that needs them."""

import pytest

from tests.learner.processes import RankProcesses


@pytest.fixture(scope="session")
def two_ranks():
    processes = RankProcesses(2)
    yield processes
    processes.close()
