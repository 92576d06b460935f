import pytest

from rlkit import extract_answer, extract_code, split_reply


@pytest.mark.parametrize(
    ("response", "thought", "answer"),
    [
        ("<think>a</think>b", "a", "b"),
        ("a</think>b", "a", "b"),
        ("just b", None, "just b"),
        ("<think>never ends", "never ends", None),
        ("<think>a</think>b<think>c", "a", None),
        ("<think>a</think>b</think>c", "a</think>b", "c"),
    ],
)
def test_a_reply_is_split_at_its_last_closing_tag(response, thought, answer):
    reply = split_reply(response)
    assert (reply.thought, reply.answer) == (thought, answer)


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"<think>\boxed{1}</think> \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"<think>\boxed{5}", None),
        (r"\boxed{4}, but then \boxed{5}", "5"),
        (r"\boxed{4} and then \boxed{5", "4"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\fbox{3}", "3"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        ("so <answer> 12 </answer>.", "12"),
        ("48 / 2 = 24\n#### 72", "72"),
        ("The final answer is: $18.50. Good.", "$18.50"),
        ("It costs 1,234 dollars", "1,234"),
        ("no idea", None),
    ],
)
def test_the_last_finished_mark_is_the_answer(response, answer):
    assert extract_answer(response) == answer


def test_a_program_is_the_last_finished_python_block_after_the_thought():
    old = "```python\nold = 1\n```\n"
    assert extract_code(f"<think>{old}</think>x\n```python\nnew = 1\n```\n```text\nno\n```") == "new = 1\n"
    assert extract_code(f"<think></think>{old}```python\nunfinished = 1\n") == "old = 1\n"
    assert extract_code("```\nbare = 1\n```") == "bare = 1\n"
    assert extract_code("def f(): pass") is None
    assert extract_code(f"<think>{old}") is None


def test_extraction_is_fast_on_hostile_text():
    for text in ("\\boxed{" * 50_000, "{" * 300_000, "```\n" * 100_001, "answer is " * 50_000, "1," * 200_000):
        extract_answer(text)
        extract_code(text)
