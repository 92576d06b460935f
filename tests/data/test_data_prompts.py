from dataclasses import replace

import pytest

from rlkit.data.prompts import PromptRenderer, check_demonstrations, check_prompt_lengths
from rlkit.data.tasks import Demonstration, load_demonstrations, load_tasks
from rlkit.errors import DataError
from rlkit.recipe.schema import DataKeys, PromptKeys
from rlkit.records import Task

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TASK = Task("t", "math", "What is 1 + 1?", "2")
DEMO = Demonstration("d", "What is 1 + 1?", "<think>\n1+1=2\n</think>\n\\boxed{2}")


def test_prompt_is_template_in_chat_template_then_forced_think(make_tokenizer):
    tokenizer = make_tokenizer(CHAT)
    shown = PromptRenderer(tokenizer, PromptKeys(system="Be brief.")).render(TASK)
    assert shown.text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is 1 + 1?\n\n"
        "Put the final answer in \\boxed{}.<|im_end|>\n<|im_start|>assistant\n<think>\n"
    )
    assert shown.forced == "<think>\n"
    assert tokenizer.decode(shown.token_ids) == shown.text
    assert tokenizer.convert_tokens_to_ids("<|im_start|>") in shown.token_ids


def test_code_tasks_get_the_code_template(make_tokenizer):
    shown = PromptRenderer(make_tokenizer(CHAT), PromptKeys(force_think=False)).render(
        Task("t", "code", "Write f.", {})
    )
    assert "Write f.\n\nPut the program in one ```python block." in shown.text
    assert shown.text.endswith("assistant\n")
    assert shown.forced == ""


def test_braces_in_a_task_are_not_template_fields(make_tokenizer):
    task = Task("t", "math", "Solve {x} and {0} and }{.", "2")
    assert "Solve {x} and {0} and }{." in PromptRenderer(make_tokenizer(CHAT), PromptKeys()).render(task).text


@pytest.mark.parametrize("tail", ["<think>\n", "<think>"])
@pytest.mark.parametrize("force", [True, False])
def test_think_opened_by_the_chat_template_is_not_doubled(tail, force, make_tokenizer):
    template = CHAT.replace("assistant\n{% endif %}", "assistant\n{{ '" + tail.replace("\n", "\\n") + "' }}{% endif %}")
    renderer = PromptRenderer(make_tokenizer(template), PromptKeys(force_think=force))
    shown = renderer.render(TASK)
    assert shown.text.count("<think>") == 1
    assert shown.text.endswith(tail)
    assert shown.forced == tail
    demo = renderer.render_demonstration(DEMO)
    assert demo.token_ids[: len(shown.token_ids)] == shown.token_ids
    learned = renderer._tokenizer.decode(demo.token_ids[len(shown.token_ids) :])
    assert shown.forced + learned == DEMO.response + "<|end|>"


def test_think_in_the_task_or_closed_by_the_template_still_forces_one(make_tokenizer):
    task = Task("t", "math", "What does <think> mean?", "2")
    shown = PromptRenderer(make_tokenizer(CHAT), PromptKeys()).render(task)
    assert shown.text.endswith("assistant\n<think>\n")


@pytest.mark.parametrize("force", [True, False])
def test_demonstration_begins_with_exactly_the_tokens_of_the_prompt(force, make_tokenizer):
    tokenizer = make_tokenizer(CHAT)
    renderer = PromptRenderer(tokenizer, PromptKeys(force_think=force))
    shown, demo = renderer.render(TASK), renderer.render_demonstration(DEMO)
    num_prompt = len(shown.token_ids)
    assert demo.token_ids[:num_prompt] == shown.token_ids
    assert len(demo.token_ids) == len(demo.completion_mask) > num_prompt
    assert demo.completion_mask == (0,) * num_prompt + (1,) * (len(demo.token_ids) - num_prompt)
    learned = tokenizer.decode(demo.token_ids[num_prompt:])
    assert shown.forced + learned == DEMO.response + "<|end|>"


def test_demonstration_without_the_forced_think_is_refused(make_tokenizer):
    demo = Demonstration("d", "p", "2")
    with pytest.raises(DataError, match=r"does not begin with <think>, which data.prompt.force_think requires"):
        PromptRenderer(make_tokenizer(CHAT), PromptKeys()).render_demonstration(demo)
    assert PromptRenderer(make_tokenizer(CHAT), PromptKeys(force_think=False)).render_demonstration(demo)


def test_unusable_tokenizers_are_refused_with_what_is_missing(make_tokenizer):
    with pytest.raises(DataError, match=r"has no chat template"):
        PromptRenderer(make_tokenizer(None), PromptKeys())
    failing = PromptRenderer(make_tokenizer("{{ raise_exception('no system turn') }}"), PromptKeys())
    with pytest.raises(DataError, match=r"chat template fails .*no system turn"):
        failing.render(TASK)
    endless = make_tokenizer(CHAT)
    endless.eos_token = None
    with pytest.raises(DataError, match=r"has no end-of-text token"):
        PromptRenderer(endless, PromptKeys()).render_demonstration(DEMO)


def test_too_long_prompts_are_bad_rows(write, make_tokenizer):
    renderer = PromptRenderer(make_tokenizer(CHAT), PromptKeys())
    rows = [{"prompt": "short", "reference": "1"}, {"prompt": "long " * 200, "reference": "1"}]
    path = write("rows.jsonl", rows)
    loaded = load_tasks(DataKeys(path=str(path)), seed=0)
    with pytest.raises(DataError, match=r"rows.jsonl:2: the prompt has \d+ tokens, more than 100; fix the row or"):
        check_prompt_lengths(loaded, renderer, 100, "stop")
    kept = check_prompt_lengths(loaded, renderer, 100, "skip")
    assert [t.prompt for t in kept.tasks] == ["short"]
    assert [b.where for b in kept.skipped] == [f"{path}:2"]
    with pytest.raises(DataError, match=r"none of its 2 rows can be used; the first: .*rows.jsonl:1: the prompt has"):
        check_prompt_lengths(loaded, renderer, 1, "skip")


def test_demonstrations_that_do_not_render_or_fit_are_bad_rows(write, make_tokenizer):
    renderer = PromptRenderer(make_tokenizer(CHAT), PromptKeys())
    think = "<think>\n</think>\n"
    rows = [{"prompt": "p", "response": r} for r in (think + "1", "1", think + "word " * 200)]
    path = write("rows.jsonl", rows)
    loaded = load_demonstrations(DataKeys(path=str(path)), seed=0)
    with pytest.raises(DataError, match=r"rows.jsonl:2: the response does not begin with <think>"):
        check_demonstrations(loaded, renderer, 100, "stop")
    kept = check_demonstrations(loaded, renderer, 100, "skip")
    assert [d.id for d in kept.demonstrations] == ["rows.jsonl:1"]
    assert [b.where for b in kept.skipped] == [f"{path}:2", f"{path}:3"]


def test_earlier_messages_are_shown_and_a_rows_own_system_message_replaces_the_recipes(make_tokenizer):
    renderer = PromptRenderer(make_tokenizer(CHAT), PromptKeys(system="Be brief.", template="{prompt} Box it."))
    turns = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"})
    own = {"role": "system", "content": "Be long."}
    asked = "<|im_start|>user\nWhat is 1 + 1? Box it.<|im_end|>\n<|im_start|>assistant\n<think>\n"
    earlier = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
    for history, shown in (((), "Be brief."), (turns, "Be brief."), ((own, *turns), "Be long.")):
        text = renderer.render(replace(TASK, history=history)).text
        assert text == f"<|im_start|>system\n{shown}<|im_end|>\n" + (earlier if turns[0] in history else "") + asked
    learned = renderer.render_demonstration(replace(DEMO, history=turns))
    prompt = renderer.render(replace(TASK, history=turns))
    assert learned.token_ids[: len(prompt.token_ids)] == prompt.token_ids
    assert sum(learned.completion_mask) == len(learned.token_ids) - len(prompt.token_ids)


def test_a_row_that_the_chat_template_refuses_is_a_bad_row(write, make_tokenizer):
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + CHAT
    renderer = PromptRenderer(make_tokenizer(template), PromptKeys())
    talk = [{"role": "system", "content": "s"}, {"role": "user", "content": "p"}]
    path = write("rows.jsonl", [{"prompt": "p", "reference": "1"}, {"prompt": talk, "reference": "1"}])
    loaded = load_tasks(DataKeys(path=str(path)), seed=0)
    with pytest.raises(DataError, match=r"rows.jsonl:2: the model's chat template fails .*set data\.on_bad_row: skip"):
        check_prompt_lengths(loaded, renderer, 100, "stop")
    assert len(check_prompt_lengths(loaded, renderer, 100, "skip").tasks) == 1
