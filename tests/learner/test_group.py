"""The learner's actors: two ranks under Ray answer as one, and end together."""

import dataclasses
import os
import select
import signal
import time
from functools import partial
from pathlib import Path

import pytest
import ray
import torch
from transformers import AutoModelForCausalLM

from rlkit.algorithm.step_arrays import Sequences, StepSamples
from rlkit.errors import ActorLost, ClusterError, RlkitError
from rlkit.keep.checkpoint import Draft, begin_checkpoint, find_checkpoint, seal_checkpoint
from rlkit.learner import learner_group as group_module
from rlkit.learner.learner_group import LearnerGroup
from rlkit.learner.learner_worker import LearnerWorker
from rlkit.learner.torch_learner import Learner
from tests.learner.updates import groups_of, spec_of

TWO = {"num_workers": 2, "timeout_s": 60}


@pytest.fixture(scope="module")
def two_ranks(ray_cluster, tiny_model):
    group = LearnerGroup(spec_of(tiny_model, learner=TWO), start_timeout_s=120)
    yield group
    group.close()


def processes_of(group):
    """The process of each rank."""
    return [
        ray.get(worker.__ray_call__.remote(lambda actor: os.getpid()), timeout=60)
        for worker in group._ranks.actors.values()  # the handle of a process is nobody else's business
    ]


def gone(pid, limit_s=30):
    """Whether a process ends within the limit."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX":
                return True
        except OSError:
            return True
        select.select([], [], [], 0.05)
    return False


def test_two_ranks_learn_publish_and_save_one_whole_model(tiny_model, two_ranks, tmp_path):
    alone = Learner(spec_of(tiny_model))
    report, expected = two_ranks.train_step(groups_of(1), 1), alone.train_step(StepSamples.of(groups_of(1)))
    assert report.metrics["learner/loss"] == pytest.approx(expected.metrics["learner/loss"], rel=1e-4)
    assert report.advantages == expected.advantages
    published = ray.get(two_ranks.publish(), timeout=60).tensors()
    for name, weight in alone.weights().items():
        torch.testing.assert_close(published[name], weight, atol=2e-4, rtol=0)
    two_ranks.save_model(tmp_path / "model")
    saved = dict(AutoModelForCausalLM.from_pretrained(tmp_path / "model").named_parameters())
    assert all(torch.equal(saved[name], weight) for name, weight in published.items())
    samples = groups_of(2)[0].samples
    for ours, theirs in zip(two_ranks.logprobs_of(samples), alone.logprobs_of(Sequences.of(samples)), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)


def save(group, draft):
    group.begin_save(draft.learner_state, partial(seal_checkpoint, draft))
    assert group.saved(wait=True)


def test_a_save_that_cannot_be_written_leaves_both_ranks_at_work(two_ranks, tmp_path):
    (tmp_path / "file").touch()
    before = processes_of(two_ranks)
    with pytest.raises(ClusterError, match=r"writing the checkpoint on rank . failed: (NotADirectory|FileExists)Error"):
        save(two_ranks, Draft(tmp_path / "file" / "step-000001", 1, {}, "run"))
    with pytest.raises(ClusterError, match=r"saving the model to .* failed: \w*NotADirectory|FileExists"):
        two_ranks.save_model(tmp_path / "file" / "model")
    draft = begin_checkpoint(tmp_path, 1, {}, run_id="run")
    save(two_ranks, draft)
    assert not draft.path.exists()
    found = find_checkpoint(tmp_path, "run").checkpoint
    two_ranks.load_state(found.learner_state)
    assert processes_of(two_ranks) == before


def test_a_dead_rank_ends_the_call_and_the_other_rank(two_ranks):
    first, second = processes_of(two_ranks)
    os.kill(second, signal.SIGKILL)
    with pytest.raises(ActorLost, match="the update of step 1 on rank 1 was lost: its process or node died"):
        two_ranks.train_step(groups_of(1), 1)
    with pytest.raises(ActorLost, match="the update of step 2 is not possible"):
        two_ranks.train_step(groups_of(1), 2)
    assert gone(first)


@pytest.mark.slow
def test_a_rank_that_dies_at_its_first_start_is_started_once_more(ray_cluster, tiny_model, tmp_path, monkeypatch):
    marker = tmp_path / "die"

    class Dying(LearnerWorker):
        def start(self, spec, rank, meeting):
            if marker.exists():
                marker.unlink()
                os._exit(3)
            super().start(spec, rank, meeting)

    monkeypatch.setattr(group_module, "LearnerWorker", Dying)
    spec, told = spec_of(tiny_model), []

    def start(most):
        marker.touch()
        return LearnerGroup(spec, start_timeout_s=120, max_restarts=most, on_event=lambda *event: told.append(event))

    group = start(1)
    report, expected = group.train_step(groups_of(1), 1), Learner(spec).train_step(StepSamples.of(groups_of(1)))
    group.close()
    assert report.metrics["learner/loss"] == pytest.approx(expected.metrics["learner/loss"], rel=1e-4)
    ((kind, text),) = told
    assert kind == "learner_restarted"
    assert "starting the learner" in text
    with pytest.raises(ClusterError, match=r"starting the learner .* died .*cluster.max_learner_restarts .* used up"):
        start(0)


@pytest.mark.slow
def test_a_rank_that_hangs_past_the_deadline_ends_the_call_and_every_rank(ray_cluster, tiny_model):
    group = LearnerGroup(spec_of(tiny_model, learner=TWO | {"timeout_s": 8}), start_timeout_s=120)
    first, second = processes_of(group)
    os.kill(second, signal.SIGSTOP)
    with pytest.raises(RlkitError, match="the update of step 1"):
        group.train_step(groups_of(1), 1)
    assert gone(first)
    assert gone(second)


@pytest.mark.slow
def test_a_rank_that_cannot_start_says_why(ray_cluster, tiny_model, tmp_path):
    spec = dataclasses.replace(spec_of(tiny_model, learner=TWO), model_path=str(tmp_path))
    with pytest.raises(RlkitError, match="cannot be loaded"):
        LearnerGroup(spec, start_timeout_s=120)
