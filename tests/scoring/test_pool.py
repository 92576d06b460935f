import os
from pathlib import Path

import pytest

from rlkit import Group, Sample, Task
from rlkit.errors import PluginError
from rlkit.recipe.schema.reward_section import RewardKeys
from rlkit.scoring.processes import scoring_pool as pool_module
from rlkit.scoring.processes.scoring_pool import ScoringPool

HERE = Path(__file__).parent
ONLY = dict.fromkeys(("accuracy", "reasoning", "format", "efficiency"))


pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture(scope="module")
def pool(ray_cluster):
    reward = {
        **ONLY,
        "bad": {"plugin": "./plugins.py:OnPrompt", "weight": 1},
        "runtime": {"num_workers": 2, "timeout_s": 3},
    }
    pool = ScoringPool(RewardKeys.model_validate(reward), HERE)
    yield pool
    pool.close()


def group(prompt, i=0):
    return Group(Task(f"{prompt}-{i}", "math", prompt, "7"), (Sample("a", "7", 1), Sample("b", "7", 1)))


def replying(*words):
    return Group(Task("t", "math", "?", "7"), tuple(Sample(f"t#{i}", word, 1) for i, word in enumerate(words)))


def test_groups_are_taken_as_they_come_and_come_back_scored(pool):
    taken = []

    def stream():
        for i in range(40):
            taken.append(i)
            yield i, group("ok", i)

    scored = pool.score(stream())
    _, first = next(scored)
    assert first.rewards == (0.5, 0.5)
    assert len(taken) <= 10  # bounded: the rest is not even asked for
    assert {first.task.id} | {s.task.id for _, s in scored} == {f"ok-{i}" for i in range(40)}


def test_a_plugin_gets_token_ids_and_no_log_probs_which_the_scored_group_has(ray_cluster):
    reward = {**ONLY, "sees": {"plugin": "./plugins.py:TellsWhatItSees", "weight": 1}, "runtime": {"num_workers": 1}}
    pool = ScoringPool(RewardKeys.model_validate(reward), HERE)
    drawn = Sample("t#0", "7", 2, token_ids=(5, 6), logprobs=(-0.5, -1.0), prompt_ids=(1,))
    ((_, scored),) = pool.score([(0, Group(Task("t", "math", "?", "7"), (drawn,)))])
    pool.close()
    assert scored.parts["sees"][0].evidence == [[5, 6], 5, 0]
    assert scored.samples == (drawn,)


def test_bad_samples_cost_themselves_only():
    events = []
    bad = {"plugin": "./plugins.py:OnReply", "weight": 1}
    reward = RewardKeys.model_validate({**ONLY, "bad": bad, "runtime": {"timeout_s": 4, "num_workers": 2}})
    pool = ScoringPool(reward, HERE, on_event=lambda kind, text: events.append(kind))
    verdicts = {"raise": "plugin_error", "hang": "timeout", "die": "crash"}
    groups = [replying("a", word) for word in verdicts] + [replying("a", "b") for _ in range(9)]
    found = dict(pool.score(enumerate(groups)))
    pool.close()
    assert sorted(found) == list(range(12))
    for i, verdict in enumerate(verdicts.values()):
        assert found[i].rewards == (0.5, None)
        assert found[i].parts["bad"][1].verdict == verdict
        assert found[i].parts["bad"][1].reason.startswith("reward part 'bad' ")
    assert all(found[i].rewards == (0.5, 0.5) for i in range(3, 12))
    assert events.count("plugin_error") == 1
    assert events.count("scorer_replaced") >= 4  # of the two that cannot be stopped, the group and then the sample


def test_groups_left_out_do_not_come_back_in_the_next_step(pool):
    scored = pool.score((i, group("ok", i)) for i in range(5))
    next(scored)
    scored.close()
    assert [(i, s.task.id) for i, s in pool.score([(7, group("ok", 99))])] == [(7, "ok-99")]


def test_a_plugin_that_cannot_be_built_is_one_sentence_in_the_driver():
    reward = RewardKeys.model_validate({**ONLY, "x": {"plugin": "./plugins.py:BrokenConstructor", "weight": 1}})
    with pytest.raises(
        PluginError, match=r"^reward.x: BrokenConstructor could not be built: ValueError: no weights file$"
    ):
        ScoringPool(reward, HERE)


def test_parts_with_their_own_actors_score_beside_the_others():
    parts = {
        "base": {"plugin": "./plugins.py:Where", "weight": 1},
        "own": {"plugin": "./plugins.py:AddsOne", "weight": 1, "to": "base", "actors": {"num_workers": 2}},
        "many": {"plugin": "./plugins.py:Several", "weight": 1, "actors": {"groups_per_call": 3}},
        "last": {"plugin": "./plugins.py:AddsOne", "weight": 1, "to": "own"},
    }
    pool = ScoringPool(RewardKeys.model_validate({**ONLY, **parts, "runtime": {"timeout_s": 4}}), HERE)
    groups = [replying("a", "die" if i == 7 else "b") for i in range(30)]
    found = dict(pool.score(enumerate(groups)))
    pool.close()
    assert len(pool.handles) == 0
    assert len(found) == 30
    for i, scored in found.items():
        values = [[score.value for score in scored.parts[name]] for name in parts]
        assert values == [[1, 1], [2, 2], [0.5, None if i == 7 else 0.5], [3, 3]]
        assert scored.parts["base"][0].evidence["gpus"] == ""
    assert found[7].parts["many"][1].verdict == "crash"
    assert {s.parts["many"][0].reason for s in found.values()} & {"2 groups", "3 groups"}


def test_the_default_parts_score_in_an_actor():
    pool = ScoringPool(RewardKeys.model_validate({}), HERE)
    response = "<think>\n348 + 275 = 623\n</think>\n\\boxed{623}"
    task = Task("t", "math", "What is 348 + 275?", "623")
    wrong = response.replace("\\boxed{623}", "\\boxed{1}")
    ((_, scored),) = pool.score([(0, Group(task, (Sample("a", response, 9), Sample("b", wrong, 9))))])
    pool.close()
    assert list(scored.weights.items()) == [("accuracy", 0.4), ("reasoning", 0.3), ("format", 0.2), ("efficiency", 0.1)]
    assert scored.rewards[0] > 0.9
    assert scored.rewards[1] <= 0.35 + 1e-9


def test_an_actor_that_dies_at_its_first_start_is_started_once_more(tmp_path, monkeypatch):
    marker = tmp_path / "die"
    marker.touch()

    class Dying(pool_module.ScoringActor):
        def __init__(self, *args):
            if marker.exists():
                marker.unlink()
                os._exit(3)
            super().__init__(*args)

    monkeypatch.setattr(pool_module, "ScoringActor", Dying)
    pool = ScoringPool(RewardKeys(), HERE)
    ((_, scored),) = pool.score(enumerate([replying(r"\boxed{7}")]))
    pool.close()
    assert not marker.exists()
    assert scored.rewards[0] > 0.3


def test_what_a_plugin_starts_hears_sigterm_although_its_scorer_does_not():
    pool = ScoringPool(
        RewardKeys.model_validate({**ONLY, "ends": {"plugin": "./plugins.py:Terminates", "weight": 1}}), HERE
    )
    ((_, scored),) = pool.score(enumerate([group("ok")]))
    pool.close()
    assert scored.rewards == (1.0, 1.0)
