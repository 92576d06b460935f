"""`rlkit train` from end to end: what it leaves, that it repeats itself, that it can be stopped and continued."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from rlkit.watch.runlog import read_rows
from tests.chaos.notify import Notify
from tests.chaos.same import differences
from tests.chaos.tree import Tree, title
from tests.chaos.victim import Kill, Victim
from tests.cluster.conftest import RLKIT, metrics, numbers, run_rlkit, stop_after_step, weights

NAMED = [
    *("step", "policy_version", "accuracy", "parity/max_abs_logprob", "time/sample", "time/update", "time/sync"),
    *(f"reward/{part}" for part in ("total", "accuracy", "reasoning", "format", "efficiency", "digits")),
    *(f"learner/{name}" for name in ("loss", "entropy", "kl", "grad_norm", "clip_fraction", "tokens_per_second")),
]


def test_a_run_leaves_what_it_promises(whole_run):
    summary = json.loads((whole_run / "summary.json").read_text())
    assert summary["status"] == "done"
    assert summary["steps"] == summary["policy_version"] == 5
    assert summary["before"]["n"] == summary["after"]["n"] == 6
    assert set(summary["reward_after"]) == {"digits", "accuracy", "reasoning", "format", "efficiency"}
    rows = [row for row in metrics(whole_run) if row["stage"] == "stage-1-grpo"]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert all(name in row for row in rows for name in NAMED)
    assert [row["step"] for row in metrics(whole_run) if row["stage"] == "stage-0-sft"] == [1, 2, 3]
    assert sorted(p.name for p in (whole_run / "stage-1-grpo" / "checkpoints").iterdir()) == [
        "step-000004",
        "step-000005",
    ]
    resolved = yaml.safe_load((whole_run / "recipe.yaml").read_text())
    assert resolved["rollout"]["temperature"] == 1.0
    text = whole_run.with_name("stdout.txt").read_text()
    assert "stage-1-grpo 5/5" in text
    assert "accuracy, greedy" in text


def test_the_parity_gate_runs_at_every_step_and_weights_really_move(whole_run):
    rows = [row for row in metrics(whole_run) if row["stage"] == "stage-1-grpo"]
    assert all(0 < row["parity/max_abs_logprob"] < 1e-4 for row in rows)
    assert all(row["learner/grad_norm"] > 0 for row in rows)
    assert rows[-1]["reward/digits"] != rows[0]["reward/digits"]


def test_every_sample_is_on_disk_with_its_scores(whole_run):
    _, rollouts = numbers(whole_run)
    assert len(rollouts) == 5
    for step, rows in enumerate(rollouts.values(), start=1):
        assert len(rows) == 16
        for row in rows:
            assert row["policy_version"] == step - 1
            assert len(row["token_ids"]) == len(row["logprobs"]) == row["num_tokens"]
            assert row["response"].startswith("<think>\n")
            parts = row["parts"]
            assert sum(part["weight"] for part in parts.values()) == pytest.approx(1)
            wrong = parts["accuracy"]["value"] == 0
            capped = {"reasoning": 0.5, "efficiency": 0.0} if wrong else {}
            total = sum(p["weight"] * min(p["value"], capped.get(n, p["value"])) for n, p in parts.items())
            assert row["reward"] == pytest.approx(total)


@pytest.mark.slow
def test_two_rollout_workers_give_the_same_run_bit_for_bit(whole_run, tiny_recipe, tmp_path):
    done = run_rlkit("train", tiny_recipe, "rollout.num_workers=2", "--run-dir", tmp_path / "two")
    assert done.code == 0, done.err
    assert numbers(tmp_path / "two") == numbers(whole_run)
    ours, theirs = weights(tmp_path / "two"), weights(whole_run)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_run_that_is_stopped_and_then_killed_continues_to_the_same_end(whole_run, tiny_recipe, tmp_path, number):
    run_dir = tmp_path / "stopped"
    done = stop_after_step(2, run_dir, number, tiny_recipe, "--run-dir", run_dir)
    assert done.code == 130, done.err
    calm = r"rlkit: stopped as you asked after step \d of stage-1-grpo; the same command continues the run in \S+\n"
    assert re.fullmatch(calm, done.err)
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["status"] == "stopped"
    assert 2 <= summary["steps"] < 5
    assert (run_dir / "model" / "model.safetensors").exists()

    words = [*RLKIT, "train", str(tiny_recipe), "--run-dir", str(run_dir), "--resume", "must"]
    victim = Victim(words, run_dir, random.Random(0))
    killed = victim.kill_in("save")
    assert isinstance(killed, Kill), victim.output()
    assert victim.finish() == 0, victim.output()
    happened = json.loads((run_dir / "summary.json").read_text())["events"]
    assert (happened["stopped"], happened["resume"]) == (1, 2)
    assert re.search(r"events: .*resume 2, stopped 1; ", victim.output())
    again = r"continuing the run in \S+: stage-0-sft is done, stage-1-grpo continues after step \d\n"
    assert re.search(again, victim.output())
    assert differences(run_dir, whole_run) == []


@pytest.mark.slow
def test_a_start_that_failed_and_one_that_was_killed_before_a_step_leave_the_name_free(tiny_recipe, tmp_path):
    run_dir, fresh = tmp_path / "run", tmp_path / "fresh"
    alone = "stages=[{kind: grpo, steps: 2, prompts_per_step: 4, samples_per_prompt: 4, learning_rate: 1.0e-3}]"
    words = ["train", tiny_recipe, alone]
    (tmp_path / "rows.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n' * 20)
    wrong = [f"data.path={tmp_path}/rows.jsonl", "data.fields={prompt: nope, reference: answer}"]
    done = run_rlkit(*words, *wrong, "--run-dir", run_dir)
    assert done.code == 2, done.err
    victim = Victim([*RLKIT, *map(str, words), "--run-dir", str(run_dir)], run_dir, random.Random(0))
    killed = victim.kill_in("actors start")
    assert isinstance(killed, Kill), victim.output()
    done = run_rlkit(*words, "run.seed=6", "--run-dir", run_dir, "--resume", "must")
    assert (done.code, "ended before its first step" in done.err) == (2, True)
    for folder in (run_dir, fresh):
        done = run_rlkit(*words, "run.seed=6", "--run-dir", folder, "--resume", "never")
        assert done.code == 0, done.err
    assert json.loads((run_dir / "summary.json").read_text())["events"].keys() - {"no_signal"} == {"checkpoint"}
    assert numbers(run_dir) == numbers(fresh)
    assert all(torch.equal(w, weights(run_dir)[n]) for n, w in weights(fresh).items())


@pytest.mark.slow
def test_a_run_survives_its_sft_actor(whole_run, tiny_recipe, tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    tree, notify = (
        Tree([*RLKIT, "train", str(tiny_recipe), "--run-dir", str(run_dir)], tmp_path / "log"),
        Notify(run_dir),
    )
    deadline = time.monotonic() + 200
    try:
        while not any("/checkpoints/.step-000002." in change.path for change in notify.wait(0.01)):
            assert time.monotonic() < deadline
        (actor,) = (pid for pid in tree.pids() if title(pid).startswith("ray::OfflineWorker"))
        os.kill(actor, signal.SIGKILL)
        assert tree.root.wait(timeout=deadline - time.monotonic()) == 0, tree.log.read_text()
    finally:
        notify.close()
        tree.kill(tree.freeze())
    events = [json.loads(line)["event"] for line in (run_dir / "events.jsonl").read_text().splitlines()]
    assert "learner_restarted" in events
    assert json.loads((run_dir / "summary.json").read_text())["events"]["learner_restarted"] == 1
    assert "learner_restarted 1" in tree.log.read_text()
    assert differences(run_dir, whole_run) == []


def test_a_finished_run_says_so_and_refuses_another_seed(whole_run, tiny_recipe):
    done = run_rlkit("train", tiny_recipe, "--run-dir", whole_run)
    assert (done.code, "is done" in done.out) == (0, True)
    done = run_rlkit("train", tiny_recipe, "run.seed=6", "--run-dir", whole_run)
    assert (done.code, "run.seed: 5 -> 6" in done.err) == (2, True)


@pytest.mark.slow
def test_never_refuses_a_run_that_is_there_and_must_one_that_is_not(whole_run, tiny_recipe, tmp_path):
    done = run_rlkit("train", tiny_recipe, "--run-dir", whole_run, "--resume", "never")
    assert (done.code, "already contains a run" in done.err) == (2, True)
    done = run_rlkit("train", tiny_recipe, "--run-dir", tmp_path / "none", "--resume", "must")
    assert (done.code, "no run to resume" in done.err) == (2, True)


def test_the_saved_model_loads_in_transformers_and_vllm_and_both_say_the_same(whole_run):
    program = r"""
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from vllm import LLM, SamplingParams
path = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(path)
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
prompts = [tokenizer(f"What is {i} + {i + 5}?\n<think>\n")["input_ids"] for i in range(6)]
llm = LLM(path, dtype="float32", enforce_eager=True, kv_cache_memory_bytes=2**28, enable_chunked_prefill=False)
drawn = llm.generate([{"prompt_token_ids": p} for p in prompts], SamplingParams(temperature=0, max_tokens=24))
for prompt, output in zip(prompts, drawn):
    ours = model.generate(torch.tensor([prompt]), max_new_tokens=24, do_sample=False)[0].tolist()[len(prompt):]
    assert ours == list(output.outputs[0].token_ids), (ours, output.outputs[0].token_ids)
print("AGREE")
"""
    from rlkit.recipe.schema import RolloutKeys
    from rlkit.rollout.engine import engine_env

    done = subprocess.run(
        [sys.executable, "-c", program, str(whole_run / "model")],
        env=os.environ | engine_env(RolloutKeys()),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "AGREE" in done.stdout, done.stderr[-2000:]


@pytest.mark.slow
def test_a_run_that_ends_in_sft_tells_of_that_model_as_one_that_was_made_longer_does(tiny_recipe, tmp_path):
    sft = "{kind: sft, data: {path: 'builtin:quickstart-demos?rows=64'}, steps: 3, learning_rate: 1.0e-3}"
    grpo = "{kind: grpo, steps: 2, prompts_per_step: 4, samples_per_prompt: 4, learning_rate: 1.0e-3}"
    judged = []
    for name, *starts in (("at once", f"[{grpo}, {sft}]"), ("longer", f"[{grpo}]", f"[{grpo}, {sft}]")):
        for stages in starts:
            done = run_rlkit("train", tiny_recipe, f"stages={stages}", "--run-dir", tmp_path / name)
            assert done.code == 0, done.err
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        judged.append([summary[key] for key in ("status", "before", "after", "reward_after")])
    assert judged[0] == judged[1]
    progress = json.loads((tmp_path / "longer" / "progress.json").read_text())
    assert progress["after"] == json.loads((tmp_path / "at once" / "progress.json").read_text())["after"]
    assert all(torch.equal(w, weights(tmp_path / "longer")[n]) for n, w in weights(tmp_path / "at once").items())


@pytest.mark.slow
@pytest.mark.timeout(900)  # six starts
def test_an_sft_stage_that_is_stopped_or_made_longer_ends_in_the_weights_of_the_whole(tiny_recipe, tmp_path):
    """It keeps what it did whatever checkpoint.every says."""
    sft = "stages=[{{kind: sft, data: {{path: 'builtin:quickstart-demos?rows=64'}}, steps: {}, learning_rate: 1.0e-3}}]"
    words = [tiny_recipe, "checkpoint.every=0", "evaluation.holdout=0", "evaluation.sources=[]"]
    for name in ("whole", "stopped", "longer"):
        run_dir = tmp_path / name
        if name == "stopped":
            stopped = stop_after_step(
                5, run_dir, signal.SIGINT, *words, sft.format(60), "--run-dir", run_dir, stage="stage-0-"
            )
            assert (stopped.code, stopped.err.count("\n")) == (130, 1), stopped.err
            told = [row["event"] for row in read_rows(run_dir / "events.jsonl")]
            assert told == ["checkpoint", "stopped"]
            assert 5 <= len(metrics(run_dir)) < 60
        if name == "longer":
            done = run_rlkit("train", *words, sft.format(40), "--run-dir", run_dir)
            assert done.code == 0, done.err
            assert (run_dir / "model").exists()
        done = run_rlkit("train", *words, sft.format(60), "--run-dir", run_dir)
        assert done.code == 0, done.err
        assert [row["step"] for row in metrics(run_dir)] == list(range(1, 61))
        assert all(torch.equal(w, weights(run_dir)[n]) for n, w in weights(tmp_path / "whole").items())
    assert "resume" in {row["event"] for row in read_rows(tmp_path / "longer" / "events.jsonl")}


@pytest.mark.parametrize("file", ["progress.json.tmp", pytest.param("recipe.yaml.tmp", marks=pytest.mark.slow)])
def test_a_disk_that_is_full_from_the_start_is_told_in_one_sentence(tiny_recipe, tmp_path, file):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / file).symlink_to("/dev/full")
    done = run_rlkit("train", tiny_recipe, "--run-dir", run_dir)
    assert done.code == 1
    (line,) = done.err.strip().splitlines()
    assert line.startswith(f"rlkit: error: the run folder {run_dir} cannot be written: No space left on device")


@pytest.mark.slow
def test_checkpoints_of_a_run_without_accuracy_are_kept_all_the_same(tiny_recipe, tmp_path):
    parts = [f"reward.{part}=null" for part in ("accuracy", "reasoning", "efficiency")]
    words = [*parts, "stages.1.steps=2", "evaluation.every=1", "checkpoint.every=1"]
    done = run_rlkit("train", tiny_recipe, *words, "checkpoint.keep_best=1", "--run-dir", tmp_path / "run")
    assert done.code == 0, done.err
    assert [row["accuracy"] for row in read_rows(tmp_path / "run" / "evaluations.jsonl")] == [None]
    assert [p.name for p in (tmp_path / "run" / "stage-1-grpo" / "checkpoints").iterdir()]


def test_an_engine_that_disagrees_with_the_learner_stops_the_run(tiny_recipe, tmp_path):
    run_dir, recipe = tmp_path / "gate", tiny_recipe.with_name("alone.yaml")
    lines = tiny_recipe.read_text().splitlines(keepends=True)
    recipe.write_text("".join(line for line in lines if "kind: sft" not in line))
    done = run_rlkit("train", recipe, "rollout.parity_limit=1e-12", "--run-dir", run_dir)
    assert done.code == 1
    (line,) = done.err.strip().splitlines()
    assert line.startswith("rlkit: error: after the sync of policy version 0 an engine's log-probs differ")
    assert json.loads((run_dir / "summary.json").read_text())["status"] == "failed"
