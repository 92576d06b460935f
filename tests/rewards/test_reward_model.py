"""The reward-model part on a real, small sequence classifier made here."""

import math
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Qwen2Config, Qwen2ForSequenceClassification

from rewards.reward_model import RewardModel
from rlkit import Group, Sample, SequenceModel, Task
from rlkit.recipe.schema.reward_section import RewardKeys
from rlkit.scoring.processes.child_processes import LocalPool

REPLIES = ["<think>1+1=2</think>\n\nSo it is\n\n\\boxed{2}", "no", "", "What? " * 40, "a\n\nb", "\ud800 broken"]


def make_classifier(tiny_model, folder, num_labels):
    """A Qwen2 of random weights with a classification head, and the tiny model's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_labels=num_labels,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen2ForSequenceClassification(config)
    # The head is drawn wide, so that replies score visibly apart.
    torch.nn.init.normal_(model.score.weight, std=1.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def classifier(tiny_model, tmp_path_factory):
    return make_classifier(tiny_model, tmp_path_factory.mktemp("reward-model"), 1)


def make_group(*responses):
    samples = tuple(Sample(f"t#{i}", response, 10) for i, response in enumerate(responses))
    return Group(Task("t", "math", "What is 1 + 1?", "2"), samples)


def directly(path, prompt, reply):
    """The model's logits for one pair, without a batch, by the library alone."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    if tokenizer.chat_template:
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]
        ids = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False)["input_ids"]
    else:
        ids = tokenizer(f"{prompt}\n{reply}")["input_ids"]
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].tolist()


def test_batches_score_as_single_replies_do(classifier):
    scores = RewardModel(classifier, tokens_per_batch=128).score(make_group(*REPLIES))
    logits = [directly(classifier, "What is 1 + 1?", reply.encode("utf-8", "replace").decode())[0] for reply in REPLIES]
    assert [score.value for score in scores] == pytest.approx([1 / (1 + math.exp(-x)) for x in logits], abs=1e-5)
    assert len({round(score.value, 3) for score in scores}) > 3


def test_messages_before_the_prompt_are_read_too(classifier):
    history = ({"role": "system", "content": "Be brief."},)
    alone = make_group("2")
    after = Group(replace(alone.task, history=history), alone.samples)
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    messages = [*after.task.messages, {"role": "assistant", "content": "2"}]
    ids = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False)["input_ids"]
    model = AutoModelForSequenceClassification.from_pretrained(classifier).eval()
    with torch.inference_mode():
        logit = model(torch.tensor([ids])).logits[0].item()
    (score,) = RewardModel(classifier).score(after)
    assert score.value == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-5)


def test_permuting_a_group_permutes_its_scores(classifier):
    plugin = RewardModel(classifier, tokens_per_batch=256)
    there = [score.value for score in plugin.score(make_group(*REPLIES))]
    back = [score.value for score in plugin.score(make_group(*reversed(REPLIES)))]
    assert back == there[::-1]


def test_two_labels_give_the_log_odds_of_the_second(tiny_model, tmp_path):
    path = make_classifier(tiny_model, tmp_path, 2)
    no, yes = directly(path, "What is 1 + 1?", "2")
    assert SequenceModel(path).score([("What is 1 + 1?", "2")]) == [pytest.approx(yes - no, abs=1e-5)]


def test_a_reply_that_the_model_cannot_read_whole_earns_nothing(classifier):
    short, long = RewardModel(classifier, max_tokens=60).score(make_group("2", "two " * 200))
    assert short.value > 0
    assert (long.value, long.verdict) == (0.0, "too_long")


def test_per_step_takes_the_worst_prefix(classifier):
    reply = REPLIES[0]
    prefixes = ["<think>1+1=2</think>", "<think>1+1=2</think>\n\nSo it is", reply]
    whole = [score.value for score in RewardModel(classifier).score(make_group(*prefixes))]
    (stepwise,) = RewardModel(classifier, per_step=True).score(make_group(reply))
    assert stepwise.value == pytest.approx(min(whole), abs=1e-5)


def test_groups_are_scored_in_the_same_batches_and_as_they_are_alone(classifier):
    plugin = RewardModel(classifier, tokens_per_batch=10_000, per_step=True)
    calls = []
    score_batch = plugin._model._score_batch
    plugin._model._score_batch = lambda rows: calls.append(len(rows)) or score_batch(rows)
    groups = [make_group(*REPLIES), make_group("2"), make_group(*REPLIES[:2])]
    together = [[score.value for score in scores] for scores in plugin.score_groups(groups)]
    assert len(calls) == 1
    alone = [[score.value for score in plugin.score(group)] for group in groups]
    assert [x for some in together for x in some] == pytest.approx([x for some in alone for x in some], abs=1e-5)


def test_it_scores_in_processes_of_its_own(classifier):
    keys = dict.fromkeys(("reasoning", "format", "efficiency"))
    part = {"path": classifier, "weight": 0.5, "actors": {"groups_per_call": 4}}
    runtime = {"memory_mb": 64}  # less than torch and the model take
    pool = LocalPool(RewardKeys.model_validate({**keys, "reward_model": part, "runtime": runtime}), Path.cwd())
    try:
        found = dict(pool.score((i, make_group(*REPLIES[:2])) for i in range(12)))
    finally:
        pool.close()
    expected = [score.value for score in RewardModel(classifier).score(make_group(*REPLIES[:2]))]
    assert len(found) == 12
    for scored in found.values():
        assert [score.value for score in scored.parts["reward_model"]] == pytest.approx(expected, abs=1e-5)
        assert [score.value for score in scored.parts["accuracy"]] == [1.0, 0.0]


def test_it_can_be_sent_to_an_actor(classifier):
    plugin = pickle.loads(pickle.dumps(RewardModel(classifier)))
    assert plugin.score(make_group("2"))[0].value is not None


def test_what_is_no_reward_model_is_refused(tiny_model, tmp_path):
    with pytest.raises(ValueError, match="3 labels"):
        RewardModel(make_classifier(tiny_model, tmp_path, 3))
    with pytest.raises(OSError, match="nowhere"):
        RewardModel(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="max_tokens=0"):
        RewardModel("any", max_tokens=0)
