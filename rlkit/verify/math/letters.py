"""Letters of an expression: functions, constants, variables side by side, names with an index."""

from __future__ import annotations

import re

from rlkit.verify.math.cursor import Cursor
from rlkit.verify.math.lexer import Token
from rlkit.verify.math.names import CONSTANTS, ENGLISH, FUNCTIONS, LETTERS, RENAMED
from rlkit.verify.math.nodes import Node, number

_SUM = re.compile(r"[-+]?\w+(?:[-+]\w+)+")
_TERM = re.compile(r"[-+]\w+")


class LetterParser(Cursor):
    """Reads words and names; `ExpressionParser` adds what stands round them."""

    def _function(self, name: str) -> Node:
        raise NotImplementedError

    def _primary(self) -> Node:
        raise NotImplementedError

    def _word(self) -> Node:
        """Letters: a function, a constant, or variables side by side."""
        token = self._next()
        name = RENAMED.get(token.text, token.text)
        if name in FUNCTIONS:
            return self._function(name)
        if name.lower() in CONSTANTS:
            return CONSTANTS[name.lower()]
        if name in LETTERS and len(name) > 2:
            return self._subscripted(name)
        if len(name) == 1 or name.startswith("bold "):
            return self._letter(name)
        for size in (len(name) - 1, len(name) - 2):
            head = RENAMED.get(name[:size], name[:size])
            if size >= 2 and head in FUNCTIONS:
                # sinx, lnx
                self._at -= 1
                self._tokens[self._at] = Token("word", name[size:])
                return self._function(head)
        if len(name) > 4 or name.lower() in ENGLISH:
            self._fail("a word")
        # The first letter now; the others stay, so that ab^2 is a b^2.
        self._at -= 1
        self._tokens[self._at] = Token("word", name[1:])
        return self._letter_at(name[0])

    def _letter_at(self, name: str) -> Node:
        if name == "e":
            return Node("const", ("e",))
        return Node("const", ("i",)) if name == "i" and self._imaginary else Node("sym", (name,))

    def _letter(self, name: str) -> Node:
        return self._subscripted(name) if self._is("_") else self._letter_at(name)

    def _subscripted(self, name: str) -> Node:
        if self._take("_"):
            lower = self._subscript()
            if name in ("C", "A", "P") and lower.isdigit() and self._is("^"):
                # C_{10}^{3}: combinations and arrangements as they are written in China.
                self._next()
                return Node("fn", ("binom" if name == "C" else "perm", number(int(lower[:9])), self._primary()))
            name += "_" + lower
        return Node("sym", (name,))

    def _subscript(self) -> str:
        """An index; without braces one letter, as in LaTeX, so that F_kF_n is a product; but v_max has one name."""
        token = self._token
        is_label = token.text.islower() and len(token.text) > 2 and self._tokens[self._at + 1].text != "_"
        if token.kind == "word" and len(token.text) > 1 and not is_label:
            self._tokens[self._at] = Token("word", token.text[1:])
            return token.text[0]
        lower = self._raw_group()
        if _SUM.fullmatch(lower):
            # n + 1 and 1 + n
            lower = "".join(sorted(_TERM.findall(lower if lower[0] in "+-" else f"+{lower}"))).removeprefix("+")
        return lower

    def _raw_group(self) -> str:
        """A subscript as text."""
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
