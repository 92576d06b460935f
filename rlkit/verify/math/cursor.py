"""A place among tokens: looking, taking, failing."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from rlkit.verify.math.lexer import Token
from rlkit.verify.math.nodes import Node, Unreadable

_MAX_DEPTH = 60


class Cursor:
    """A place among tokens, how deep in brackets it is, and how many bars are open there."""

    def __init__(self, tokens: list[Token], *, imaginary: bool) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._bars = 0
        self._imaginary = imaginary

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

    def _expect(self, text: str) -> None:
        if not self._take(text):
            self._fail(f"no {text}")

    def _fail(self, why: str) -> NoReturn:
        raise Unreadable(why)

    def _nested(self, read: Callable[[], Node]) -> Node:
        """`read`, one level deeper: what stands between bars outside is closed off."""
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
