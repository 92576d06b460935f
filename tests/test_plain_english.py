"""Plain English: words and sentences that must not come back in names, docstrings, comments and messages.

A program reports, logs, prints, raises or receives; it does not tell, say, hear or speak.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATHS = ("rlkit/**/*.py", "rewards/**/*.py", "recipes/**/*.yaml", "examples/**/*.py", "examples/**/*.yaml")
"""What this test holds to plain English; patterns from the repository's root."""
WORDS = {
    # word: what to write instead
    "told": "reported, logged, printed or raised",
    "untold": "not reported",
    "tells": "reports, shows or distinguishes",
    "foretells": "predicts",
    "hear": "receive",
    "hears": "receives",
    "heard": "received",
    "speaks": "mentions or prints",
    "spoke": "printed",
    "says": "reports, states or gives",
    "said": "reported, stated or given",
    "settle": "fill in, decide or finish",
    "settles": "fills in, decides or finishes",
    "deaf": "ignoring signals",
    "errand": "request",
    "anew": "again",
    "whoever": "name the caller or the process",
    "mend": "fix",
    "mends": "fixes",
    "mended": "fixed",
    "knob": "key",
    "knobs": "keys",
    "kin": "related algorithms",
}
PHRASES = {
    "goes on": "continues",
    "go on all the same": "resume anyway",
    "not even that": "name what fails",
    "what came first": "the first error",
    "the one before it is": "the previous one is",
    "see no sense": "name what the rule cannot judge",
    "makes no sense": "is invalid",
    "make no sense": "are invalid",
    "give another run.name": "set another run.name",
    "made from nothing": "new, with random weights",
    "from nothing": "name what it is created from",
    "a stranger": "a user",
}
NAMES = {
    # parts of names that the code defines: look_ahead -> look, ahead
    *("told", "tell", "tells", "say", "says", "said", "hear", "hears", "heard", "speak", "speaks", "spoke", "deaf"),
    *("settle", "settled", "errand", "crew", "hire", "hired", "walled", "keeper", "ear", "news", "quieting", "doomed"),
}

Found = tuple[int, str]
"""(line, what is wrong)."""


def texts_of(source: str) -> Iterator[Found]:
    """(line, text) of every comment and every string, docstrings included."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from enumerate(node.value.split("\n"), start=node.lineno)


def names_of(source: str) -> Iterator[Found]:
    """(line, name) of everything that the source defines: a name of another room that it uses is not its own."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def bad_text(text: str) -> Iterator[str]:
    """The forbidden words and phrases in a text, each with a replacement."""
    for word in re.findall(r"[a-z]+", text.lower()):
        if word in WORDS:
            yield f"{word!r}: write {WORDS[word]}"
    plain = " ".join(text.lower().split())
    yield from (f"{phrase!r}: write {better}" for phrase, better in PHRASES.items() if phrase in plain)


def bad_name(name: str) -> Iterator[str]:
    """The forbidden parts of a name."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    yield from (f"{name!r}: the name has the part {word!r}" for word in words if word in NAMES)


def violations(path: str, source: str) -> list[str]:
    """`path:line: what is wrong` of every violation in a file."""
    if path.endswith(".py"):
        found = [(line, bad) for line, text in texts_of(source) for bad in bad_text(text)]
        found += [(line, bad) for line, name in names_of(source) for bad in bad_name(name)]
    else:
        comments = [(i, line.partition("#")[2]) for i, line in enumerate(source.splitlines(), start=1)]
        found = [(line, bad) for line, text in comments for bad in bad_text(text)]
    return [f"{path}:{line}: {bad}" for line, bad in sorted(found)]


PLANTED = {
    "a docstring": ('"""A.\n\nSays why."""', "a.py:3: 'says'"),
    "a comment": ("x = 1  # told once", "a.py:1: 'told'"),
    "a message": ('raise ValueError(f"{x} goes on")', "a.py:1: 'goes on'"),
    "a phrase": ("# where not even that can be written, what is told of is what came first", "a.py:1: 'not even that'"),
    "a function": ("def let_children_hear(): ...", "a.py:1: 'let_children_hear'"),
    "a private class": ("class _Ear: ...", "a.py:1: '_Ear'"),
    "an argument": ("def f(told=1): ...", "a.py:1: 'told'"),
    "an attribute": ("self._spoke_at = 1", "a.py:1: '_spoke_at'"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_violations_are_found(name: str) -> None:
    source, expected = PLANTED[name]
    found = violations("a.py", source)
    assert any(violation.startswith(expected) for violation in found), found


def test_a_comment_in_a_recipe_is_checked_and_its_values_are_not() -> None:
    assert violations("a.yaml", "a: b  # says so\nsays: told\n") == ["a.yaml:1: 'says': write reports, states or gives"]


@pytest.mark.parametrize(
    "source",
    [
        "import hear\nhear.told(settle=1)",  # another room's names
        "class Yearly: ...\nnewsletter, appear, wholehearted = 1, 2, 3",
        "# essays, aforesaid and resettled are other words; on the go, on and on",
    ],
)
def test_other_words_pass(source: str) -> None:
    assert violations("a.py", source) == []


def test_the_rooms_are_in_plain_english() -> None:
    files = sorted({file for pattern in PATHS for file in ROOT.glob(pattern)})
    assert all(any(ROOT.glob(pattern)) for pattern in PATHS), "a pattern matches no file"
    found = [v for f in files for v in violations(f.relative_to(ROOT).as_posix(), f.read_text(encoding="utf-8"))]
    assert not found, "\n" + "\n".join(found)
