"""Whole runs with every kind of learner: stopped and continued they end as if undisturbed, bit for bit."""

import json
import signal

import pytest
import torch

from tests.cluster.conftest import metrics, numbers, run_rlkit, stop_after_step, weights
from tests.learner.mixtures import save_mixture

KINDS = {
    "two ranks": ["learner.num_workers=2"],
    "adapters": ["learner.lora.rank=4", "stages.1.kl_coef=0.05", "stages.1.reference_every=2"],
    "adapters on two ranks in bfloat16": [
        *("learner.num_workers=2", "learner.lora.rank=4", "learner.precision=bfloat16"),
    ],
    "a critic on two ranks": [
        *("learner.num_workers=2", "stages.1={kind: ppo, steps: 5, prompts_per_step: 4, learning_rate: 1.0e-3}"),
    ],
    "a mixture of experts": ["learner.router_aux_coef=0.01"],
    "a mixture of experts on two ranks": ["learner.num_workers=2"],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_run_continues_to_the_same_end(tiny_recipe, tiny_model, tmp_path, kind):
    words = [tiny_recipe, *KINDS[kind]]
    if "mixture" in kind:
        save_mixture("mixtral", tiny_model, tmp_path / "mixture")
        words.append(f"model.path={tmp_path / 'mixture'}")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    done = run_rlkit("train", *words, "--run-dir", whole)
    assert done.code == 0, done.err
    rows = [row for row in metrics(whole) if row["stage"].startswith("stage-1")]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert all(row["learner/grad_norm"] > 0 for row in rows)
    assert all(("learner/router_entropy" in row) == ("mixture" in kind) for row in rows)
    done = stop_after_step(2, stopped, signal.SIGINT, *words, "--run-dir", stopped)
    assert done.code == 130, done.err
    done = run_rlkit("train", *words, "--run-dir", stopped, "--resume", "must")
    assert done.code == 0, done.err
    assert numbers(stopped) == numbers(whole)
    ours, theirs = weights(stopped), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_quickstart_gains_on_two_ranks(tmp_path):
    words = ["learner.num_workers=2", "learner.threads=1", "--run-dir", tmp_path / "run"]
    done = run_rlkit("train", "recipes/quickstart.yaml", *words, timeout=1800)
    assert done.code == 0, done.err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["after"]["accuracy"] - summary["before"]["accuracy"] >= 0.15
