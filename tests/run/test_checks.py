"""What cannot work is known by `rlkit plan`, in the sentence in which `rlkit train` refuses it, before any actor."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlkit.cli.main import main
from rlkit.plan.model_files import folder_problem

ROWS = [{"prompt": f"What is {i} + 1?", "reference": str(i + 1)} for i in range(40)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> Path:
    """A working directory with a model, data and recipe."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_model, tmp_path / "model")
    write_rows(ROWS)
    write_recipe()
    return tmp_path


def write_rows(rows: list[dict[str, Any]]) -> None:
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_recipe(**sections: Any) -> None:
    base: dict[str, Any] = {
        "model": {"path": "./model"},
        "data": {"path": "rows.jsonl"},
        "stages": [{"kind": "grpo", "steps": 1, "prompts_per_step": 4}],
        "rollout": {"max_tokens": 16},
    }
    Path("r.yaml").write_text(yaml.safe_dump(base | sections))


def refusal(command: str, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([command, "r.yaml", *words]) == 2
    return capsys.readouterr().err


def same_refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Of both commands."""
    planned = refusal("plan", capsys, *words)
    assert refusal("train", capsys, *words) == planned
    return planned


def test_a_sound_recipe_is_planned_with_its_real_number_of_tasks(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "r.yaml", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["rows"] == {"tasks": 30, "heldout": 10, "demonstrations": {}}
    assert plan["tasks"] == 30
    assert {
        k: v
        for item in plan["worked_out"]
        if item["key"] == "cluster.object_store_mb"
        for k, v in item.items()
        if k != "why"
    } == {"key": "cluster.object_store_mb", "value": 256}
    assert plan["recipe"]["cluster"]["object_store_mb"] == 256


def test_skipped_rows_do_not_count_and_are_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows([*ROWS, {"prompt": "no reference"}])
    assert "rows.jsonl:41" in same_refusal(capsys)
    assert main(["plan", "r.yaml", "data.on_bad_row=skip", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["tasks"] == 30
    assert "1 bad rows are skipped; the first: rows.jsonl:41" in plan["notes"][-1]


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"rollout": {"engine": {"gpu_memory_utilisation": 0.4}}}, "did you mean 'gpu_memory_utilization'?"),
        ({"rollout": {"engine": {"max_num_seqs": "all"}}}, "rollout.engine.max_num_seqs = 'all'"),
        ({"rollout": {"engine": {"max_model_len": 3000}}}, "is more than the model's context of 2048 tokens"),
        ({"learner": {"lora": {"target_modules": ["c_attn"]}}}, "no layer of the model is named 'c_attn'; it has"),
        ({"learner": {"lora": {"target_modules": ["q_proj", "v_prj"]}}}, "named 'v_prj'; did you mean 'v_proj'?"),
        ({"learner": {"lora": {"target_modules": r".*mlp\.fc1"}}}, "matches no layer of the model: it has"),
        ({"learner": {"lora": {"target_modules": "("}}}, "is not a regular expression"),
        ({"learner": {"lora": {"target_modules": ["embed_tokens"]}}}, "is an embedding, which cannot have an adapter"),
        ({"learner": {"lora": {"target_modules": []}}}, "the list is empty"),
        ({"reward": {"mine": {"plugin": "./not_there.py:Mine", "weight": 1}}}, "not_there.py"),
        ({"evaluation": {"holdout": 40}}, "evaluation.holdout=40 leaves nothing to train on"),
        ({"data": {"path": "rows.jsonl", "fields": {"prompt": "question"}}}, "question"),
        ({"data": {"path": "not_there.jsonl"}}, "does not exist"),
        ({"reward": {"rm": {"plugin": "reward_model", "weight": 1, "path": "./modle"}}}, "did you mean 'model'?"),
        ({"run": {"dir": "rows.jsonl"}}, "rows.jsonl is a file; set run.dir or --run-dir"),
        ({"stages": [{"kind": "ppo", "steps": 1, "critic": {"path": "./not_there"}}]}, "stages.0.critic.path"),
        ({"data": {"path": "rows.jsonl", "max_prompt_tokens": 5000}}, "more than the model's context of 2048"),
    ],
)
def test_what_cannot_work_is_refused_alike_by_plan_and_train(
    sections: dict[str, Any], sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recipe(**sections)
    printed = same_refusal(capsys)
    assert sentence in printed
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "targets", ["all-linear", ["q_proj", "down_proj"], r".*\.(q|v)_proj", "model.layers.0.mlp.up_proj"]
)
def test_adapters_for_layers_of_the_model_pass(targets: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recipe(learner={"lora": {"target_modules": targets}})
    assert main(["plan", "r.yaml"]) == 0
    write_recipe(learner={"lora": {"target_modules": targets}}, model={"init": {}})
    assert main(["plan", "r.yaml"]) == 0


def damage_config(model: Path) -> None:
    (model / "config.json").write_text("{")


def drop_config(model: Path) -> None:
    (model / "config.json").unlink()


def drop_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()


def cut_weights(model: Path) -> None:
    whole = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def empty_weights(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"")


def drop_a_part(model: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


def drop_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()


def drop_template(model: Path) -> None:
    (model / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((model / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (model / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (damage_config, "its config.json cannot be read"),
        (drop_config, "it has no config.json"),
        (drop_weights, "has no weights"),
        (cut_weights, "is incomplete: its model.safetensors has"),
        (empty_weights, "is not a safetensors file"),
        (drop_a_part, "lists model-1.safetensors, which is missing"),
        (drop_tokenizer, "has no tokenizer"),
        (drop_template, "has a tokenizer without a chat template"),
    ],
)
def test_a_model_folder_that_lacks_something_is_refused_at_its_key(
    damage: Any, sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(folder / "model")
    printed = same_refusal(capsys)
    assert printed.startswith("rlkit: error: r.yaml:")
    assert "model.path: ./model" in printed
    assert sentence in printed


def test_a_folder_above_the_model_is_answered_with_the_model(folder: Path) -> None:
    assert "model has one" in str(folder_problem(folder, is_policy=True))
    assert folder_problem(folder / "model", is_policy=True) is None


def test_large_data_is_read_by_deep_plans_only(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlkit.run.checks.SMALL_BYTES", 10)
    write_rows([*ROWS, {"prompt": "no reference"}])
    assert main(["plan", "r.yaml", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["rows"] is None
    assert "was not read: --deep reads it" in plan["notes"][-1]
    assert "rows.jsonl:41" in refusal("plan", capsys, "--deep")


@pytest.mark.slow
def test_a_deep_plan_reports_prompt_lengths_and_what_is_too_long(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "r.yaml", "--deep", "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any(note.startswith("prompts have ") and "of the model's 2048" in note for note in notes)
    assert "rows.jsonl:1: the prompt has" in refusal("plan", capsys, "--deep", "data.max_prompt_tokens=2")
    printed = refusal("plan", capsys, "--deep", "rollout.engine={max_num_batched_tokens: 1}")
    assert "rollout.engine: the installed vLLM refuses an engine of this recipe" in printed


def test_a_stage_with_rows_of_its_own_needs_no_data_section(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("demos.jsonl").write_text("".join(json.dumps({"prompt": f"{i}?", "answer": f"{i}."}) + "\n" for i in range(9)))
    sections = {"stages": [{"kind": "sft", "data": {"path": "demos.jsonl"}}]}
    write_recipe(**sections, data={"prompt": {"force_think": False}})
    assert main(["plan", "r.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]["demonstrations"] == {"0": 9}
    recipe = yaml.safe_load(Path("r.yaml").read_text())
    del recipe["data"]
    Path("r.yaml").write_text(yaml.safe_dump(recipe))
    assert "set data.prompt.force_think: false" in same_refusal(capsys)


LOSS = "from rlkit import PolicyLoss\ndef mine(tokens, ratio_C, clip):\n    return PolicyLoss(-ratio_C, ratio_C > 1)\n"


def test_a_loss_of_ones_own_is_tried_before_anything_starts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = {"kind": "grpo", "steps": 1, "prompts_per_step": 4, "objective": "./loss.py:mine"}
    write_recipe(stages=[stage])
    assert "stages.0.objective: there is no file ./loss.py in the recipe's folder" in same_refusal(capsys)
    Path("loss.py").write_text(LOSS.replace("ratio_C, clip", "clip"))
    printed = same_refusal(capsys)
    assert "stages.0.objective: ./loss.py:mine takes (tokens, clip), and a policy loss is called with" in printed
    Path("better.py").write_text(LOSS)
    write_recipe(stages=[stage | {"objective": "./better.py:mine"}])
    assert main(["plan", "r.yaml"]) == 0
