"""Which part of a reply is the program."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlkit import extract_code, find_code_blocks

BLOCK = "```python\nx = 1\n```"


@pytest.mark.parametrize(
    ("reply", "program"),
    [
        (BLOCK, "x = 1\n"),
        (f"<think>{BLOCK}</think>no program", None),
        (f"<think>{BLOCK}</think>\n```python\ny = 2\n```\nand so on", "y = 2\n"),
        (f"{BLOCK}\nthen\n```py\ny = 2\n```", "y = 2\n"),
        (f"{BLOCK}\nIt prints:\n```\n3\n```", "x = 1\n"),
        (f"{BLOCK}\n```text\n3\n```\n```bash\nls\n```", "x = 1\n"),
        ("```\nx = 1\n```\n```\ny = 2\n```", "y = 2\n"),
        ('```Python3 title="a.py"\nx = 1\n```', "x = 1\n"),
        ("1. Like this:\n\n   ```python\n   if x:\n       y = 2\n   ```\n", "if x:\n    y = 2\n"),
        ("````python\nx = '''\n```\n'''\n````", "x = '''\n```\n'''\n"),
        (f"{BLOCK}\n```python\nunfinished = 1\n", "x = 1\n"),
        ("```pycon\n>>> 1\n```", None),
        ("x = 1", None),
        ("", None),
    ],
)
def test_the_program_is_the_last_finished_python_block_after_the_thought(reply, program):
    assert extract_code(reply) == program


@given(
    st.lists(st.sampled_from(["```", "```python", "````", " ", "  x", "\n", "a\u2028b", "`", "</think>", "<think>"]))
)
def test_blocks_never_overlap_and_hold_text_of_the_reply(words):
    text = "\n".join(words)
    ends = [end for _, _, end in find_code_blocks(text)]
    assert ends == sorted(set(ends))
    assert all(text[:end].rstrip().endswith("```") for end in ends)
    extract_code(text)
