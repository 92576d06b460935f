"""Each kind of extension is one new file: runs examples/extending as its README describes."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from rlkit.cli.main import main
from rlkit.errors import PluginError
from rlkit.recipe.load import load_recipe
from rlkit.recipe.schema import TrackingKeys
from rlkit.watch.sinks import SinkThreads, build_sinks, check_sinks

EXAMPLE = Path(__file__).parents[2] / "examples" / "extending"
DATA = f"data.path={EXAMPLE / 'tasks.jsonl'}"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The example beside its recipe; its stage as an installed package brings it."""
    folder = tmp_path / "extending"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    points = re.search(r'(merge) = "(.*)"', (EXAMPLE / "pyproject.toml").read_text())
    info = folder / "rlkit_extending-1.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rlkit-extending\nVersion: 1.0.0\n")
    (info / "entry_points.txt").write_text(f"[rlkit.stages]\n{points[1]} = {points[2]}\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_recipe_reads_the_keys_of_a_kind_from_outside(installed, capsys):
    recipe = load_recipe(installed / "recipe.yaml", [DATA]).recipe
    assert recipe.stages[1].share == 0.5
    assert recipe.stage_name(1) == "stage-1-merge"
    assert main(["plan", str(installed / "recipe.yaml"), DATA, "--json"]) == 0
    stage = json.loads(capsys.readouterr().out)["stages"][1]
    assert (stage["name"], stage["steps"], stage["updates"]) == ("stage-1-merge", 1, 0)
    assert main(["plan", "--schema"]) == 0
    assert "MergeKeys" in json.loads(capsys.readouterr().out)["$defs"]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("stages.1.share=2", "stages.1.share"),
        ("stages.1.shar=0.5", "unknown key 'shar'; did you mean 'share'?"),
        ("stages.1.kind=merg", "must be one of sft, grpo, ppo, merge; did you mean 'merge'?"),
        ("stages.0.share=0.5", "it belongs to merge stages"),
    ],
)
def test_mistakes_in_it_are_explained_as_those_in_built_in_kinds_are(installed, capsys, override, sentence):
    assert main(["plan", str(installed / "recipe.yaml"), DATA, override]) == 2
    assert sentence in capsys.readouterr().err


def test_all_of_them_work_in_a_real_run(installed, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(installed)}
    words = [DATA, "evaluation.holdout=0", "rollout.num_workers=1"]
    words += [f"model.init.{key}" for key in ("hidden_size=64", "num_layers=1", "num_heads=2", "num_kv_heads=1")]
    program = [sys.executable, "-m", "rlkit", "train", str(installed / "recipe.yaml"), *words]
    done = subprocess.run(program, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "runs" / "extending"
    assert "objective: ./loss.py:plain_policy_gradient" in (run / "recipe.yaml").read_text()
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    sunk = list(csv.reader((tmp_path / "runs" / "extending.csv").open()))
    assert [(row[0], int(row[1]), float(row[2])) for row in sunk] == [
        ("stage-0-grpo", row["step"], row["reward/total"]) for row in steps
    ]
    assert {"reward/short_thought", "reward/accuracy"} <= steps[0].keys()
    models = (run / "start", run / "stage-0-grpo" / "model", run / "model")
    start, policy, merged = (load_file(folder / "model.safetensors") for folder in models)
    for name, weight in merged.items():
        assert weight.allclose((start[name] + policy[name]) / 2, atol=1e-7)


class Slow:
    """Takes its rows when it is let."""

    def __init__(self, go, rows):
        self.go, self.rows = go, rows

    def log(self, row):
        assert self.go.wait(30)
        self.rows.append(row["step"])


class Failing:
    """Raises at each row; closes all the same."""

    def __init__(self, closed):
        self.closed = closed

    def log(self, row):
        raise OSError("the server is gone")

    def close(self):
        self.closed.append(True)


def test_a_sink_that_hangs_or_fails_costs_the_run_nothing_and_is_named_once():
    import threading

    go, rows, closed, events = threading.Event(), [], [], []
    threads = SinkThreads([Slow(go, rows), Failing(closed)], lambda kind, text: events.append((kind, text)))
    for step in range(3):
        threads.put({"step": step})
    threads.close(timeout_s=0.2)
    go.set()
    assert closed == [True]
    late = "metrics sink Slow had not logged all rows after tracking.sink_timeout_s=0.2 s"
    failed = "metrics sink Failing: OSError: the server is gone; the run continues"
    assert sorted(events) == [("sink_failed", failed), ("sink_late", late)]


@pytest.mark.parametrize(
    ("sink", "sentence"),
    [
        (
            {"plugin": "./csv_sinks.py:CsvSink"},
            r"^tracking.sinks.0.plugin: there is no file ./csv_sinks.py .*'csv_sink.py'",
        ),
        ({"plugin": "./csv_sink.py:CsvSinks"}, r"^tracking.sinks.0.plugin: .* no class or function 'CsvSinks'"),
        ({"plugin": "./judges.py:judge_reversed"}, r"^tracking.sinks.0.plugin: .* has no method log\(row\)"),
        ({"plugin": "nowhere"}, r"^tracking.sinks.0.plugin: no installed plugin is named 'nowhere'"),
        ({"plugin": "./csv_sink.py:CsvSink"}, r"^tracking.sinks.0.arguments.path: CsvSink needs this argument"),
        (
            {"plugin": "./csv_sink.py:CsvSink", "arguments": {"pat": "x"}},
            r"^tracking.sinks.0.arguments.pat: CsvSink has no such argument; did you mean 'path'\?",
        ),
    ],
)
def test_a_sink_that_cannot_be_used_is_named_by_its_key(sink, sentence):
    with pytest.raises(PluginError, match=sentence):
        check_sinks(TrackingKeys.model_validate({"sinks": [sink]}), EXAMPLE)


def test_a_sink_whose_constructor_raises_is_named_by_its_key(tmp_path):
    keys = {"plugin": "./csv_sink.py:CsvSink", "arguments": {"path": str(tmp_path / "no folder" / "x.csv")}}
    with pytest.raises(PluginError, match=r"^tracking.sinks.0: CsvSink cannot be constructed: FileNotFoundError"):
        build_sinks(TrackingKeys.model_validate({"sinks": [keys]}), EXAMPLE)
