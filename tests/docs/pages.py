"""The fenced blocks of README.md and of docs/, each with the mark that stands before it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
OWN_TEST = ROOT / "docs/math-answers.md"
"""Its blocks are examples in a form of their own: tests/verify/test_docs_math_answers.py runs them."""
PAGES = [ROOT / "README.md", *sorted({*(ROOT / "docs").rglob("*.md")} - {OWN_TEST})]
COMMAND_LANGUAGES = ("bash", "fish", "zsh")
LANGUAGES = (*COMMAND_LANGUAGES, "yaml", "python", "json", "text")
NEEDS = ("gpu", "cluster")
MARKS = ("slow", "benchmark", *(f"needs: {what}" for what in NEEDS))
"""slow: run by `make test-all`. benchmark: takes long on an idle machine; its options are checked. needs: not run."""
_FENCE = re.compile(
    r"(?:^[ ]*<!-- (?P<mark>[^>]*) -->\n)?^(?P<indent>[ ]*)(?P<fence>`{3,})(?P<language>\w*)"
    r"(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^[ ]*(?P=fence)[ ]*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    place: str
    """Page and line: "docs/index.md:12"."""
    language: str
    """What stands behind the opening fence."""
    mark: str
    """One of MARKS, or empty."""
    title: str
    """The file that holds it, in the reader's folder; empty: none."""
    text: str
    """Its lines."""

    @property
    def commands(self) -> list[str]:
        """Its command lines, continued ones joined, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def blocks_of(page: Path) -> list[Block]:
    """The page's blocks, from top to bottom."""
    return list(_blocks(page.read_text(), str(page.relative_to(ROOT))))


def _blocks(text: str, page: str) -> Iterator[Block]:
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start("fence")) + 1
        indent = len(found["indent"])
        inner = "".join(row[indent:] if row.strip() else row for row in found["text"].splitlines(keepends=True))
        yield Block(f"{page}:{line}", found["language"], (found["mark"] or "").strip(), found["title"] or "", inner)


def prose_of(page: Path) -> str:
    """The page's text without its blocks."""
    return _FENCE.sub("", page.read_text())
