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
        ("```python\nx = 1\n```<|im_end|>", "x = 1\n"),
        ("```python\nx = 1\n<|im_end|>", "x = 1\n"),
        ("```python\nx = 1<|endoftext|>", "x = 1\n"),
        ("```python\nx = 1```<|im_end|>", "x = 1\n"),
        ("```python\nx = 1\n</s>\n", "x = 1\n"),
        ("```python\nx = 1\n```</s><|endoftext|>\n<|im_start|>user\nmore", "x = 1\n"),
        ("```python\nx = 1\n<｜end▁of▁sentence｜>", "x = 1\n"),
        ("```python\nx = '<|im_end|>'\n# up to <|im_end|>\n```", "x = '<|im_end|>'\n# up to <|im_end|>\n"),
        ("~~~python\nx = '```'\n~~~", "x = '```'\n"),
        ("~~~\nx = 1\n~~~~", "x = 1\n"),
        ("~~~python\nx = 1\n```\n", None),
        ("`````python\nx = 1\n````\n`````", "x = 1\n````\n"),
        ("  ```py\n  x = 1\n  ```", "x = 1\n"),
        ("The program: ```python\nx = 1\n```", "x = 1\n"),
        ("```python\nx = 1```\nthat is all", None),
        ("```{.python .numberLines}\nx = 1\n```", "x = 1\n"),
        ("```python:main.py\nx = 1\n```", "x = 1\n"),
        ("```python3.11\nx = 1\n```", "x = 1\n"),
        ("``` python\r\nx = 1\r\n```\r\n", "x = 1\r\n"),
        ("```python\nunfinished = 1\n", None),
        ("```pycon\n>>> 1\n```", None),
        ("x = 1", None),
        ("", None),
    ],
)
def test_the_program_is_the_last_finished_python_block_after_the_thought(reply, program):
    assert extract_code(reply) == program


SOLUTION, USAGE = "```python\ndef f(x):\n    return x\n```", "```python\nprint(f(1))\n```"
METHOD = "```python\nclass Solution:\n    def f(self, x): return x\n```"
SCRIPT = "```python\nprint(int(input()) * 2)\n```"


@pytest.mark.parametrize(
    ("reply", "reference", "number"),
    [
        ((SOLUTION, USAGE), {"mode": "function", "entry_point": "f"}, 0),
        ((SOLUTION, USAGE), {"mode": "asserts", "test_code": "assert f(1) == 1"}, 0),
        ((METHOD, USAGE), {"mode": "function", "entry_point": "f"}, 0),
        ((METHOD, "```python\ns = Solution()\ns.f(1)\n```"), {"mode": "function", "entry_point": "Solution().f"}, 0),
        (("```python\nf = abs\n```", USAGE), {"mode": "function", "entry_point": "f"}, 0),
        ((SOLUTION, "```python\ndef f(x):\n    return 2\n```"), {"mode": "function", "entry_point": "f"}, 1),
        (("```\ndef f(x): return x\n```", USAGE), {"mode": "function", "entry_point": "f"}, 0),
        ((SOLUTION, "```\ndef f(x): 7\n```"), {"mode": "function", "entry_point": "f"}, 0),
        ((USAGE, "```python\nf == 3\ndeff(f)\n```"), {"mode": "function", "entry_point": "f"}, 1),
        ((SCRIPT, "```python\nassert double(2) == 4\n```"), {"mode": "stdin", "tests": []}, 0),
        (("```python\nimport sys\nfor line in sys.stdin: print(line)\n```", USAGE), {"mode": "stdin"}, 0),
        (("```python\nprint(1)\n```", "```python\nprint(2)\n```"), {"mode": "stdin"}, 1),
        ((SOLUTION, USAGE), "a reference of another kind", 1),
    ],
)
def test_of_several_blocks_the_program_is_the_one_that_the_tests_can_run(reply, reference, number):
    (_, program, _) = find_code_blocks(reply[number])[0]
    assert extract_code("First:\n" + "\nand then:\n".join(reply), reference) == program


@given(
    st.lists(
        st.sampled_from(
            [
                "```",
                "```python",
                "~~~",
                "y <|im_end|>",
                "````",
                " ",
                "  x",
                "\n",
                "a\u2028b",
                "`",
                "</think>",
                "<think>",
            ]
        )
    )
)
def test_blocks_never_overlap_and_hold_text_of_the_reply(words):
    text = "\n".join(words)
    ends = [end for _, _, end in find_code_blocks(text)]
    assert ends == sorted(set(ends))
    assert all(text[:end].rstrip().endswith(("```", "~~~", "<|im_end|>")) for end in ends)
    extract_code(text)
