"""Letters: constants, variables side by side, and names with an index."""

import re

from rlkit.verify.math.lexer import Token
from rlkit.verify.math.names import (
    CONSTANTS,
    ENGLISH,
    FUNCTIONS,
    LETTERS,
    RENAMED,
)
from rlkit.verify.math.nodes import (
    Node,
    number,
)
from rlkit.verify.math.token_reader import GrammarRules

_MAX_INDEX_DIGITS = 9
"""Digits of the n in C_n^k that are read; a number with more of them is no real count."""
_LONGEST_PRODUCT = 4
"""Letters that may be variables side by side, as in abcd; a longer run is a word."""
_SHORTEST_SPELLED_LETTER = 3
"""Shorter names of Greek letters ("mu", "nu") are two variables unless a backslash stands before them."""
_SHORTEST_LABEL = 3
"""An index of small letters is one label from this length on (v_max); a shorter one is a letter and a factor."""
_COUNTS = {"C": "binom", "A": "perm", "P": "perm"}
"""The letter of C_n^k and A_n^k (also P_n^k), as combinations and arrangements are written in China."""
_INDEX_SUM = re.compile(r"[-+]?\w+(?:[-+]\w+)+")
"""An index such as n+1, whose terms are put in order so that n+1 and 1+n name the same variable."""
_INDEX_TERM = re.compile(r"[-+]\w+")


class NameRules(GrammarRules):
    """Reads a run of letters, and what is written below one."""

    def _letters(self) -> Node:
        """A run of letters: a function with its argument, a constant, or the first of several variables."""
        token = self._next()
        name = RENAMED.get(token.text, token.text)
        if name in FUNCTIONS:
            return self._function(name)
        if name.lower() in CONSTANTS:
            return CONSTANTS[name.lower()]
        if name in LETTERS and len(name) >= _SHORTEST_SPELLED_LETTER:
            return self._indexed(name)
        if len(name) == 1 or name.startswith("bold "):
            return self._indexed(name) if self._is("_") else self._variable(name)
        for size in (len(name) - 1, len(name) - 2):
            head = RENAMED.get(name[:size], name[:size])
            if size >= 2 and head in FUNCTIONS:
                # sinx, lnx
                self._put_back(name[size:])
                return self._function(head)
        if len(name) > _LONGEST_PRODUCT or name.lower() in ENGLISH:
            self._fail("a word")
        # The first letter now; the others stay, so that ab^2 is a b^2.
        self._put_back(name[1:])
        return self._variable(name[0])

    def _put_back(self, letters: str) -> None:
        """Leaves the end of the word that was just taken to be read next."""
        self._at -= 1
        self._tokens[self._at] = Token("word", letters)

    def _variable(self, name: str) -> Node:
        if name == "e":
            return Node("const", ("e",))
        return Node("const", ("i",)) if name == "i" and self._imaginary else Node("sym", (name,))

    def _indexed(self, name: str) -> Node:
        """A variable with the index behind it, as one name: a_1, F_{n+1}; C_{10}^3 is a count."""
        if self._take("_"):
            lower = self._index()
            if name in _COUNTS and lower.isdigit() and self._is("^"):
                self._next()
                return Node("fn", (_COUNTS[name], number(int(lower[:_MAX_INDEX_DIGITS])), self._primary()))
            name += "_" + lower
        return Node("sym", (name,))

    def _index(self) -> str:
        """An index; without braces one letter, as in LaTeX, so that F_kF_n is a product; but v_max has one name."""
        token = self._token
        is_label = (
            token.text.islower() and len(token.text) >= _SHORTEST_LABEL and self._tokens[self._at + 1].text != "_"
        )
        if token.kind == "word" and len(token.text) > 1 and not is_label:
            self._tokens[self._at] = Token("word", token.text[1:])
            return token.text[0]
        lower = self._group_as_text()
        if _INDEX_SUM.fullmatch(lower):
            # n + 1 and 1 + n
            terms = _INDEX_TERM.findall(lower if lower[0] in "+-" else f"+{lower}")
            lower = "".join(sorted(terms)).removeprefix("+")
        return lower

    def _group_as_text(self) -> str:
        """The tokens of a group in braces, or the one token here, joined."""
        if not self._take("{"):
            return self._next().text
        words, depth = "", 1
        while True:
            token = self._next()
            if token.kind == "end":
                self._fail("an unfinished brace")
            depth += (token.text == "{") - (token.text == "}")
            if depth == 0:
                return words
            words += token.text
