"""A real vLLM engine in a child process of its own: samples, seeds, weights, and the stale output layer."""

import json
import math
import os
import shutil
import subprocess
import sys

import pytest

from rlkit.errors import ParityError, RecipeError
from rlkit.models.tokenizer import load_tokenizer
from rlkit.recipe.schema import RolloutKeys
from rlkit.records import Sample
from rlkit.rollout.engine import EngineSpec, end_tokens, engine_arguments, engine_env
from rlkit.rollout.engine_arguments import OURS, check_engine_arguments, check_engine_values, known_arguments
from rlkit.rollout.request import derive_seed
from rlkit.stages.online.parity import check_parity, max_logprob_gap

PROGRAM = r"""
import dataclasses, json, sys, torch
import numpy as np
from rlkit.models.pretrained import load_model
from rlkit.models.tokenizer import load_tokenizer
from rlkit.recipe.schema import RolloutKeys
from rlkit.records import Task
from rlkit.rollout.engine import Engine, EngineSpec
from rlkit.rollout.request import DrawRequest
from rlkit.rollout import weights as engine_weights

torch.set_num_threads(1)
path = sys.argv[1]
tokenizer = load_tokenizer(path)
keys = RolloutKeys(max_tokens=24, temperature=0.8, kv_cache_gb=0.1)
engine = Engine(EngineSpec(path, keys, "float32", 0))

def request(i, seeds, greedy=False):
    ids = tokenizer(f"What is {i} + 3?\n<think>\n")["input_ids"]
    return DrawRequest(i, Task(f"t{i}", "math", "p", "1"), np.array(ids, np.int32), "<think>\n", seeds, greedy=greedy)

def rows(requests):
    drawn = dict(engine.draw(requests))
    return {i: [(tuple(s.token_ids.tolist()), s.logprobs.tolist()) for s in g.samples] for i, g in drawn.items()}, drawn

def gap(model, drawn):
    widest = 0.0
    for group in drawn.values():
        for s in group.samples:
            with torch.no_grad():
                logits = model(torch.tensor([[*s.prompt_ids, *s.token_ids]]), use_cache=False).logits[0] / 0.8
            ours = torch.log_softmax(logits.float(), -1)
            for k, (t, lp) in enumerate(zip(s.token_ids.tolist(), s.logprobs.tolist())):
                widest = max(widest, abs(float(ours[len(s.prompt_ids) - 1 + k, t]) - lp))
    return widest

out = {}
wanted = [request(i, (10 * i, 10 * i + 1, 10 * i + 2)) for i in range(12)]
whole, drawn = rows(wanted)
parts = {}
for chunk in ([wanted[7], wanted[2]], wanted[8:][::-1], [wanted[0]], [wanted[i] for i in (6, 1, 3, 5, 4)]):
    parts |= rows(chunk)[0]
out["same_in_any_batch"] = parts == whole
out["samples_differ"] = len({s for g in whole.values() for s, _ in g}) > 20
first = drawn[0].samples[0]
out["forced"] = first.response.startswith("<think>\n")
out["finish"] = sorted({s.finish_reason for g in drawn.values() for s in g.samples})
out["lengths_agree"] = all(
    len(s.token_ids) == len(s.logprobs) == s.num_tokens for g in drawn.values() for s in g.samples
)

model = load_model(path)
out["gap_start"] = gap(model, drawn)
generated = model.generate(
    torch.tensor([wanted[0].prompt_ids.tolist()]),
    max_new_tokens=24, do_sample=False, pad_token_id=tokenizer.pad_token_id,
)[0].tolist()[len(wanted[0].prompt_ids):]
out["greedy_agrees"] = generated == rows([request(0, (0,), greedy=True)])[1][0].samples[0].token_ids.tolist()

# An engine abandoned in mid-draw is clean for the next one.
next(iter(engine.draw(wanted)))
out["abandoned_draw_is_dropped"] = rows(wanted[:3])[0] == {i: whole[i] for i in range(3)}

# A group's prompt is computed once: its samples share the blocks of it.
computed = []
schedule = engine.llm.engine_core.engine_core.scheduler.schedule
def counting(*args):
    scheduled = schedule(*args)
    computed.append(scheduled.total_num_scheduled_tokens)
    return scheduled
engine.llm.engine_core.engine_core.scheduler.schedule = counting
long = dataclasses.replace(wanted[0], prompt_ids=wanted[0].prompt_ids[:1].repeat(100), seeds=(1, 2, 3, 4, 5, 6, 7, 8))
shared = rows([long])[1][0].samples
engine.llm.engine_core.engine_core.scheduler.schedule = schedule
out["prompt_tokens_computed"] = computed[0]
engine.llm.reset_prefix_cache()
alone = rows([dataclasses.replace(long, seeds=(8,))])[1][0].samples[0]
out["sharing_changes_nothing"] = (alone.token_ids.tolist(), alone.logprobs.tolist()) == (
    shared[7].token_ids.tolist(), shared[7].logprobs.tolist()
)

# Truncated sampling moves the log-probs; the canary does without it.
engine.spec = dataclasses.replace(engine.spec, keys=keys.model_copy(update={"top_k": 5}))
out["gap_truncated"] = gap(model, rows(wanted)[1])
out["gap_canary"] = gap(model, rows([dataclasses.replace(w, truncated=False) for w in wanted])[1])
engine.spec = dataclasses.replace(engine.spec, keys=keys)

# New weights, and an output layer whose packed copy went stale: what AMX kernels do to a tied lm_head.
torch.manual_seed(1)
for p in model.parameters():
    p.data += 0.05 * torch.randn_like(p)
lm_head = engine.llm.model_executor.driver_worker.model_runner.model.lm_head
packed = lm_head.weight.clone()
lm_head.cpu_linear = lambda x, weight, bias: torch.nn.functional.linear(x, packed, bias)
weights = {name: p.detach().clone() for name, p in model.named_parameters()}
repair = engine_weights.repack_cpu_linears
engine_weights.repack_cpu_linears = lambda model: 0
engine_weights.load_into_engine(engine.llm, weights)
out["gap_without_repair"] = gap(model, rows(wanted)[1])
engine_weights.repack_cpu_linears = repair
engine_weights.load_into_engine(engine.llm, weights)
out["gap_with_repair"] = gap(model, rows(wanted)[1])
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def found(tiny_model):
    env = os.environ | engine_env(RolloutKeys())
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tiny_model)], env=env, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_a_sample_depends_on_its_seed_and_not_on_its_batch(found):
    assert found["same_in_any_batch"]
    assert found["samples_differ"]


def test_the_samples_of_a_group_share_their_prompt(found):
    # 100 tokens once, and of the seven others what lies behind the last whole block of 32.
    assert found["prompt_tokens_computed"] == 100 + 7 * (100 - 96)
    assert found["sharing_changes_nothing"]


def test_samples_carry_their_tokens_logprobs_and_forced_start(found):
    assert found["forced"]
    assert found["lengths_agree"]
    assert set(found["finish"]) <= {"stop", "length"}


def test_engine_and_transformers_agree_on_logprobs_and_greedy_text(found):
    assert found["gap_start"] < 1e-4
    assert found["greedy_agrees"]


def test_an_abandoned_draw_leaves_nothing_behind(found):
    assert found["abandoned_draw_is_dropped"]


def test_the_canary_is_drawn_without_truncation(found):
    assert found["gap_truncated"] > 0.1
    assert found["gap_canary"] < 1e-4


def test_without_the_output_layers_repair_the_gate_stops_the_run_and_with_it_passes(found):
    limit = {"limit": 1e-4, "version": 3, "precision": "float32"}
    with pytest.raises(ParityError, match="policy version 3"):
        check_parity(found["gap_without_repair"], **limit)
    check_parity(found["gap_with_repair"], **limit)


ENDS = r"""
import dataclasses, json, sys, torch
import numpy as np
from rlkit.models.tokenizer import load_tokenizer
from rlkit.recipe.schema import RolloutKeys
from rlkit.records import Task
from rlkit.rollout.engine import Engine, EngineSpec
from rlkit.rollout.request import DrawRequest

torch.set_num_threads(1)
path, other, stop = sys.argv[1], int(sys.argv[2]), sys.argv[3]
tokenizer = load_tokenizer(path)
engine = Engine(EngineSpec(path, RolloutKeys(max_tokens=48, kv_cache_gb=0.1, stop=[stop]), "float32", 0))
ids = np.array(tokenizer("What is 4 + 3?\n")["input_ids"], np.int32)
((_, group),) = engine.draw([DrawRequest(0, Task("t", "math", "p", "1"), ids, "", tuple(range(160)))])
print(json.dumps([(s.token_ids.tolist(), s.response, s.finish_reason) for s in group.samples]))
"""


@pytest.mark.slow
def test_replies_end_at_a_special_stop_string_and_at_every_end_token_of_the_model(tiny_model, tmp_path):
    """A model without learning draws any token: some replies end each way."""
    folder, tokenizer = tmp_path / "model", load_tokenizer(str(tiny_model))
    shutil.copytree(tiny_model, folder)
    stop, other = tokenizer.convert_tokens_to_ids("<|im_start|>"), 70
    config = {"eos_token_id": [tokenizer.eos_token_id, other], "pad_token_id": tokenizer.pad_token_id}
    (folder / "generation_config.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-c", ENDS, str(folder), str(other), "<|im_start|>"],
        capture_output=True,
        text=True,
        env=os.environ | engine_env(RolloutKeys()),
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ends = dict.fromkeys((stop, other, tokenizer.eos_token_id), 0)
    for ids, response, reason in json.loads(done.stdout.splitlines()[-1]):
        *inside, last = ids
        assert not ends.keys() & inside
        assert (reason == "stop") == (last in ends)
        assert response == tokenizer.decode(ids if last == stop or reason == "length" else inside)
        if last in ends:
            ends[last] += 1
    assert all(ends.values()), ends


def test_a_reply_ends_with_the_tokenizers_token_or_one_of_the_models():
    assert end_tokens(2, {}) == {2}
    assert end_tokens(2, {"eos_token_id": 7}) == {2, 7}
    assert end_tokens(None, {"eos_token_id": [1, 106]}) == {1, 106}


def test_the_gate_stops_at_not_a_number():
    samples = [Sample("a#0", "", 2, logprobs=(-1.0, -1.0)), Sample("b#0", "", 1, logprobs=(-1.0,))]
    for rows in ([[math.nan, -1.0], [-1.0]], [[-1.0, math.nan], [-1.0]], [[-1.0, -1.0], [math.nan]]):
        with pytest.raises(ParityError):
            check_parity(max_logprob_gap(samples, rows), limit=1e-4, version=1, precision="float32")


def test_a_seed_depends_on_every_part_of_its_place_and_fits_vllm():
    places = [("train", s, p, n) for s in range(3) for p in range(5) for n in range(4)] + [("evaluation", 0, 0, 0)]
    seeds = {derive_seed(7, *place) for place in places}
    assert len(seeds) == len(places)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(7, "train", 1, 2, 3) == derive_seed(7, "train", 1, 2, 3) != derive_seed(8, "train", 1, 2, 3)


@pytest.mark.parametrize("name", OURS)
def test_engine_arguments_that_are_rlkits_own_are_refused(name):
    with pytest.raises(RecipeError, match=rf"rollout\.engine\.{name} is set by rlkit"):
        check_engine_arguments(RolloutKeys(engine={name: "x"}))


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        ({"max_model_length": 9}, r"max_model_length is not an engine argument .*did you mean 'max_model_len'"),
        ({"gpu_memory_utilisation": 0.4}, r"gpu_memory_utilisation .*did you mean 'gpu_memory_utilization'"),
        ({"zzz": 1}, r"zzz is not an engine argument of the installed vLLM; `vllm serve --help` lists them"),
        ({"max_num_seqs": "many"}, r"max_num_seqs = 'many': the installed vLLM expects int"),
        ({"max_num_seqs": True}, r"max_num_seqs = True: the installed vLLM expects int"),
        ({"gpu_memory_utilization": "half"}, r"gpu_memory_utilization = 'half': the installed vLLM expects float"),
        ({"enable_prefix_caching": "no"}, r"enable_prefix_caching = 'no': the installed vLLM expects bool"),
    ],
)
def test_an_engine_argument_that_the_installed_vllm_lacks_is_refused_without_importing_it(engine, sentence):
    with pytest.raises(RecipeError, match=rf"rollout\.engine\.{sentence}"):
        check_engine_arguments(RolloutKeys(engine=engine))


def test_engine_arguments_of_every_shape_are_left_to_vllm():
    check_engine_arguments(
        RolloutKeys(
            engine={"max_num_batched_tokens": 4096, "gpu_memory_utilization": 1, "compilation_config": {"mode": 0}}
        )
    )


@pytest.mark.slow
def test_the_names_read_from_the_source_are_vllms_own():
    program = "import dataclasses, json, vllm; print(json.dumps([f.name for f in dataclasses.fields(vllm.EngineArgs)]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=True)
    assert sorted(known_arguments() or ()) == sorted(json.loads(done.stdout.strip().splitlines()[-1]))


@pytest.mark.slow
def test_what_only_vllm_can_judge_is_refused_in_its_words(tiny_model):
    check_engine_values(EngineSpec(str(tiny_model), RolloutKeys(max_tokens=20), "float32", 0), timeout_s=240)
    spec = EngineSpec(str(tiny_model), RolloutKeys(engine={"max_model_len": 100_000}), "float32", 0)
    with pytest.raises(RecipeError, match=r"rollout\.engine: the installed vLLM refuses .* max_model_len"):
        check_engine_values(spec, timeout_s=240)


def test_the_recipes_engine_arguments_win_over_the_defaults():
    keys = RolloutKeys(engine={"enforce_eager": False, "max_model_len": 77})
    args = engine_arguments(EngineSpec("m", keys, "float32", 5))
    assert args["enforce_eager"] is False
    assert args["max_model_len"] == 77
