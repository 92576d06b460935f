import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.data.stream import TaskStream, split_holdout, tasks_fingerprint
from rlkit.data.tasks import Mixture
from rlkit.errors import DataError
from rlkit.records import Task


def tasks_of(domains, difficulties=None):
    difficulties = difficulties or [0] * len(domains)
    return [
        Task(str(i), "math", f"p{i}", "1", {"domain": d, "difficulty": x})
        for i, (d, x) in enumerate(zip(domains, difficulties, strict=True))
    ]


def mixed(sizes, weights):
    tasks = tasks_of(["d"] * sum(sizes))
    sources = [s for s, size in enumerate(sizes) for _ in range(size)]
    return tasks, Mixture({t.id: s for t, s in zip(tasks, sources, strict=True)}, tuple(weights))


quick = settings(max_examples=60, deadline=None)
SEEDS = st.integers(0, 2**31 - 1)


@quick
@given(st.integers(1, 40), SEEDS, st.lists(st.integers(1, 17), min_size=1, max_size=8))
def test_one_source_gives_every_task_once_an_epoch(n, seed, steps):
    stream = TaskStream(tasks_of(["d"] * n), seed=seed)
    drawn = [t.id for step in steps for t in stream.next(step)]
    for start in range(0, len(drawn) - n + 1, n):
        assert sorted(drawn[start : start + n]) == sorted(str(i) for i in range(n))
    assert stream.epoch == len(drawn) // n
    assert len(stream) == n


@quick
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), SEEDS, st.integers(0, 70), st.booleans(), st.data())
def test_saved_position_continues_exactly(domains, seed, before, stratified, data):
    sources = data.draw(st.lists(st.integers(0, 1), min_size=len(domains), max_size=len(domains)))
    tasks = tasks_of(domains)
    mixture = Mixture({t.id: s for t, s in zip(tasks, sources, strict=True)}, (0.7, 0.2))
    shares = {domains[0]: 0.4}
    keys = {"seed": seed, "mixture": mixture, "domain_shares": shares, "stratify_by": "domain" if stratified else None}
    whole = TaskStream(tasks, **keys)
    whole.next(before)
    state = json.loads(json.dumps(whole.state_dict()))
    resumed = TaskStream(tasks, **keys)
    resumed.load_state_dict(state)
    assert [t.id for t in resumed.next(50)] == [t.id for t in whole.next(50)]
    assert resumed.state_dict() == whole.state_dict()
    assert resumed.epoch == whole.epoch


@quick
@given(
    st.lists(st.tuples(st.integers(1, 12), st.floats(0.01, 100)), min_size=2, max_size=6), SEEDS, st.integers(20, 200)
)
def test_every_window_holds_the_sources_shares(sources, seed, n):
    sizes, weights = zip(*sources, strict=True)
    tasks, mixture = mixed(sizes, weights)
    counts = Counter()
    for turn, task in enumerate(TaskStream(tasks, seed=seed, mixture=mixture).next(n), start=1):
        counts[mixture.source_of[task.id]] += 1
        for source, weight in enumerate(weights):
            # Less than one off at every prefix, so less than two in every window.
            assert abs(counts[source] - turn * weight / sum(weights)) < 1 + 1e-6


@quick
@given(st.lists(st.integers(0, 5), min_size=2, max_size=40), SEEDS)
def test_strata_are_spread_evenly_and_an_epoch_is_still_every_task_once(difficulties, seed):
    tasks = tasks_of(["d"] * len(difficulties), difficulties)
    stream = TaskStream(tasks, seed=seed, stratify_by="difficulty")
    n, overall, counts = len(tasks), Counter(difficulties), Counter()
    drawn = stream.next(3 * n)
    for turn, task in enumerate(drawn, start=1):
        counts[task.metadata["difficulty"]] += 1
        assert all(abs(counts[d] - turn * overall[d] / n) < 1 for d in overall)
    for start in range(0, 3 * n, n):
        assert len({t.id for t in drawn[start : start + n]}) == n


@quick
@given(st.integers(1, 9), st.integers(10, 60), st.floats(0.05, 0.9), SEEDS)
def test_a_rare_domain_gets_its_least_share_of_every_window(rare, common, share, seed):
    tasks = tasks_of(["rare"] * rare + ["common"] * common)
    drawn = TaskStream(tasks, seed=seed, domain_shares={"rare": share}).next(150)
    wanted = max(share, rare / (rare + common))
    for start in range(110):
        count = sum(t.metadata["domain"] == "rare" for t in drawn[start : start + 40])
        assert abs(count - 40 * wanted) < 2


def test_raising_one_domain_does_not_push_another_below_its_share():
    tasks = tasks_of(["a"] * 1 + ["b"] * 30 + ["c"] * 69)
    drawn = TaskStream(tasks, seed=0, domain_shares={"a": 0.5, "b": 0.3}).next(1000)
    assert Counter(t.metadata["domain"] for t in drawn) == {"a": 500, "b": 300, "c": 200}


def test_shares_already_met_keep_the_epoch_whole():
    tasks = tasks_of(["a"] * 50 + ["b"] * 50)
    drawn = TaskStream(tasks, seed=0, domain_shares={"a": 0.3}).next(100)
    assert len({t.id for t in drawn}) == 100


def test_seed_and_epoch_change_the_order_and_nothing_else_does():
    tasks = tasks_of(["d"] * 50)
    one, same, other = (TaskStream(tasks, seed=s) for s in (1, 1, 2))
    first, second = one.next(50), one.next(50)
    assert [t.id for t in same.next(50)] == [t.id for t in first]
    assert [t.id for t in first] != [t.id for t in second]
    assert [t.id for t in other.next(50)] != [t.id for t in first]
    assert [t.id for t in TaskStream(tasks_of(["d"] * 6), seed=0).next(6)] == ["0", "4", "3", "5", "1", "2"]


def test_state_of_other_tasks_or_another_order_is_refused():
    tasks = tasks_of(["d"] * 5)
    state = TaskStream(tasks, seed=0).state_dict()
    with pytest.raises(DataError, match=r"belongs to other tasks \(5 then, 4 now\)"):
        TaskStream(tasks[:4], seed=0).load_state_dict(state)
    edited = [*tasks[:4], Task("4", "math", "p4", "2", {"domain": "d"})]
    with pytest.raises(DataError, match="belongs to other tasks"):
        TaskStream(edited, seed=0).load_state_dict(state)
    with pytest.raises(DataError, match=r"belongs to another order: run\.seed"):
        TaskStream(tasks, seed=1).load_state_dict(state)


def test_wrong_shares_and_strata_are_refused_with_the_existing_values():
    tasks = tasks_of(["algebra", "geometry"] * 3)
    with pytest.raises(DataError, match=r'did you mean "algebra"\?\); existing domains: algebra, geometry'):
        TaskStream(tasks, seed=0, domain_shares={"algebr": 0.3})
    with pytest.raises(DataError, match="the domains geometry would never be drawn"):
        TaskStream(tasks, seed=0, domain_shares={"algebra": 1.0})
    with pytest.raises(DataError, match="more than 200 different values"):
        TaskStream(tasks_of(["d"] * 300, list(range(300))), seed=0, stratify_by="difficulty")
    with pytest.raises(DataError, match="no tasks to draw from"):
        TaskStream([], seed=0)


@quick
@given(st.integers(2, 60), st.data(), SEEDS)
def test_holdout_splits_the_tasks_whatever_their_order(n, data, seed):
    size = data.draw(st.integers(0, n - 1))
    tasks = tasks_of(["d"] * n)
    train, heldout = split_holdout(tasks, size, seed)
    assert len(heldout) == size
    assert sorted(t.id for t in (*train, *heldout)) == sorted(t.id for t in tasks)
    shuffled = data.draw(st.permutations(tasks))
    assert {t.id for t in split_holdout(shuffled, size, seed)[1]} == {t.id for t in heldout}


def test_tasks_with_other_messages_before_one_prompt_are_other_tasks():
    histories = [({"role": "system", "content": str(i)},) for i in range(20)]
    tasks = [Task(str(i), "math", "Go on.", "1", history=history) for i, history in enumerate(histories)]
    train, heldout = split_holdout(tasks, 5, seed=3)
    assert (len(train), len(heldout)) == (15, 5)
    plain = [replace(task, history=()) for task in tasks]
    assert len({tasks_fingerprint(some) for some in (tasks, plain, tasks[::-1])}) == 3
    assert len(split_holdout(plain, 5, seed=3)[1]) == 0


def test_holdout_keeps_equal_prompts_on_one_side():
    tasks = [Task(str(i), "math", f"p{i % 20}", "1") for i in range(60)]
    train, heldout = split_holdout(tasks, 20, seed=3)
    assert len(heldout) == 18
    assert not {t.prompt for t in train} & {t.prompt for t in heldout}
    with pytest.raises(DataError, match=r"evaluation\.holdout=60 leaves nothing to train on"):
        split_holdout(tasks, 60, seed=0)
