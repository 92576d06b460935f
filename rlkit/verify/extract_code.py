"""Finds the program in a code reply: a fenced block after the thought. Runs nothing.

A fence is a line of three or more backticks or tildes. It may be indented, may follow a sentence where it names Python,
and ends at a line of as many, or at a special token that ends a model's turn (`<|im_end|>`, `<|endoftext|>`, `</s>`).
A fence that nothing ends holds no program: the reply was cut off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rlkit.verify.extract import split_reply

_PYTHON = ("python", "python2", "python3", "py", "py3")
"""Language names after a fence that mean Python."""
_FENCE = re.compile(r"(?P<fence>`{3,}|~{3,})(?P<info>.*)")
"""A line that may open a block: three or more marks, and the block's info string."""
_LANGUAGE = re.compile(r"\s*(?:\{\s*\.?(?P<attribute>[\w+#-]+)|(?P<name>[\w+#-]+)(?=[\s:.,{]|$)|(?P<word>\S*))")
"""After a fence: "python", "python3.11", "python:main.py", "{.python #name}"; another word names no known language."""
_TURN_END = re.compile(r"(?:<\|[^|<>\s]{1,40}\|>|<｜[^｜<>\s]{1,40}｜>|</s>|<eos>|<end_of_turn>)$")
"""A special token that ends a model's turn, at the end of a line."""
_TOKEN_CHARS = 48
"""Characters at a line's end in which such a token is looked for."""
_READS_INPUT = re.compile(
    r"\binput\s*\(|\bstdin\b|\bopen\s*\(\s*0\b|\bfileinput\b|\bos\.read\s*\(\s*0\b|/dev/fd/0|=\s*input\b"
)
"""Python that reads standard input."""
_CALLED = re.compile(r"\bassert\s+(?:not\s+)?(?:\w+\(\s*)?([^\W\d]\w*)\s*\(")
"""The function that an assert calls, at once or inside of one other call."""


@dataclass
class _OpenBlock:
    """A block whose closing fence has not come yet."""

    fence: str
    language: str
    indent: int
    lines: list[str] = field(default_factory=list)

    def end_of(self, line: str) -> str | None:
        """What stands before the fence's end on a line; None where the line does not end it."""
        text = line.rstrip()
        # A comment may contain a fence or a token.
        bare = text if "#" in text else _without_turn_end(text)
        marks = len(bare) - len(bare.rstrip(self.fence[0]))
        code = bare[: len(bare) - marks]
        closed = marks >= len(self.fence)
        if closed and not code.strip():
            return code
        if bare == text:
            return None
        return code if closed else bare

    def block(self, position: int) -> tuple[str, str, int]:
        return self.language, "".join(self.lines), position


def find_code_blocks(text: str) -> list[tuple[str, str, int]]:
    """(language, code, offset just past the closing fence's line) of every finished block, in order.

    What follows the language on its line does not count; the indentation of the opening fence is taken off every line,
    so that a block in a list item is a program too.
    """
    blocks: list[tuple[str, str, int]] = []
    current: _OpenBlock | None = None
    position = 0
    for line in text.splitlines(keepends=True):
        position += len(line)
        if current is None:
            current = _opened(line)
            continue
        cut = line[min(current.indent, len(line) - len(line.lstrip(" "))) :]
        rest = current.end_of(cut)
        if rest is None:
            current.lines.append(cut)
            continue
        if rest.strip():
            current.lines.append(f"{rest}\n")
        blocks.append(current.block(position))
        current = None
    return blocks


def _without_turn_end(text: str) -> str:
    """A line without the special tokens at its end."""
    while match := _TURN_END.search(text, max(0, len(text) - _TOKEN_CHARS)):
        text = text[: match.start()].rstrip()
    return text


def _opened(line: str) -> _OpenBlock | None:
    """The block that a line opens; None if it opens none."""
    bare = line.strip()
    match = _FENCE.fullmatch(bare)
    if match is None:
        # "The program: ```python"
        before, fence, info = bare.rpartition("```")
        return _OpenBlock("```", "python", 0) if fence and before.rstrip("`") and info.lower() in _PYTHON else None
    if match["fence"][0] == "`" and "`" in match["info"]:
        return None
    found = _LANGUAGE.match(match["info"].lower())
    language = (found["attribute"] or found["name"] or found["word"] or "") if found else ""
    return _OpenBlock(match["fence"], language, len(line) - len(line.lstrip(" ")))


def extract_code(response: str, reference: Any = None) -> str | None:
    """The program of a code reply, or None where it has no finished block after the thought.

    Of several blocks marked as Python it is the last one that defines the function that the tests call or, where the
    tests run a script, the last one that reads standard input: a usage example often follows the solution. Where none
    does, it is the last one. Blocks without a language count where none is marked, or none that is marked defines the
    function: after a program they show what it prints.

    Args:
        response: the whole reply.
        reference: of the task; it names what its tests call.
    """
    text = split_reply(response).answer
    if text is None:
        return None
    blocks = find_code_blocks(text)
    marked = [code for language, code, _ in blocks if language in _PYTHON]
    unmarked = [code for language, code, _ in blocks if not language]
    sign = _program_sign(reference)
    for programs in (marked, unmarked):
        found = [code for code in programs if sign is not None and sign.search(code)]
        if found:
            return found[-1]
    return next((programs[-1] for programs in (marked, unmarked) if programs), None)


def _program_sign(reference: Any) -> re.Pattern[str] | None:
    """A pattern that every program for these tests holds: its function, or a read of its input; None: not known."""
    if not isinstance(reference, Mapping):
        return None
    if reference.get("mode") == "stdin":
        return _READS_INPUT
    entry = reference.get("entry_point")
    if not isinstance(entry, str) or not entry:
        called = _CALLED.search(str(reference.get("test_code")))
        entry = called[1] if called else ""
    name = re.escape(entry.rpartition(".")[2])
    if not name:
        return None
    return re.compile(
        rf"^[ \t]*(?:async[ \t]+)?def[ \t]+{name}\b|^{name}[ \t]*(?::[^=\n]+)?=(?!=)|^class[ \t]+{name}\b", re.M
    )
