"""Moving through the tokens of an answer, and the rules that the parts of the grammar call across files."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NoReturn

from rlkit.verify.math.lexer import Token
from rlkit.verify.math.nodes import (
    Node,
    Unreadable,
)

MAX_ITEMS = 100
"""Most items of a list, and cells of a matrix."""
_MAX_DEPTH = 60
"""Deepest nesting of sums and brackets; keeps Python's own stack out of danger."""


class TokenReader:
    """A place among tokens: looking, taking, failing, going one level deeper.

    Args:
        tokens: Of `tokenize`. Some are split while they are read, so the list belongs to the reader.
        imaginary: Whether i is the imaginary unit.
    """

    def __init__(self, tokens: list[Token], *, imaginary: bool) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._bars = 0
        """Bars open in the innermost brackets: while there is one, the next bar closes it."""
        self._imaginary = imaginary

    # Moving through the tokens.

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        self._at += token.kind != "end"
        return token

    def _is(self, *texts: str) -> bool:
        token = self._token
        return token.kind in ("op", "cmd", "word") and token.text in texts

    def _take(self, *texts: str) -> bool:
        found = self._is(*texts)
        self._at += found
        return found

    def _take_text(self, word: str) -> bool:
        r"""Takes \text{word}."""
        found = self._token.kind == "text" and self._token.text.lower().strip(" ,") == word
        self._at += found
        return found

    def _expect(self, text: str) -> None:
        if not self._take(text):
            self._fail(f"no {text}")

    def _fail(self, why: str) -> NoReturn:
        raise Unreadable(why)

    def _nested(self, read: Callable[[], Node]) -> Node:
        """Reads one level deeper, where the bars that are open outside cannot be closed."""
        self._deeper()
        bars, self._bars = self._bars, 0
        node = read()
        self._bars = bars
        self._depth -= 1
        return node

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self._fail("nested too deep")


class GrammarRules(TokenReader, ABC):
    """The rules that a file of the grammar calls and another one defines; `AnswerParser` has them all."""

    @abstractmethod
    def _answer(self) -> Node:
        """A list of items, or one; see `AnswerParser`."""

    @abstractmethod
    def _relation(self) -> Node:
        """Sides with signs between them; see `AnswerParser`."""

    @abstractmethod
    def _sum(self) -> Node:
        """See `TermRules`."""

    @abstractmethod
    def _product(self) -> Node:
        """See `TermRules`."""

    @abstractmethod
    def _starts_factor(self) -> bool:
        """See `TermRules`."""

    @abstractmethod
    def _factor(self) -> Node:
        """See `FactorRules`."""

    @abstractmethod
    def _argument(self) -> Node:
        """See `FactorRules`."""

    @abstractmethod
    def _primary(self) -> Node:
        """See `FactorRules`."""

    @abstractmethod
    def _letters(self) -> Node:
        """See `NameRules`."""

    @abstractmethod
    def _indexed(self, name: str) -> Node:
        """See `NameRules`."""

    @abstractmethod
    def _group_as_text(self) -> str:
        """See `NameRules`."""

    @abstractmethod
    def _function(self, name: str) -> Node:
        """See `FunctionRules`."""

    @abstractmethod
    def _big(self, kind: str) -> Node:
        """See `FunctionRules`."""

    @abstractmethod
    def _command(self, name: str) -> Node:
        """See `CommandRules`."""
