r"""The grammar of answers: one recursive descent from the list at the top to the single number at the bottom.

    answer   := item ((("," | ";") ["and" | "or"] | "and" | "or") item)*
    item     := "\ldots" | relation (("\cup" | "\cap" | "\setminus" | "-") relation)*
    relation := ["="] side (("=" | "<" | ">" | "\le" | "\ge" | "\ne" | "\in" | "\approx" | "\equiv" | ":") side)*
    side     := sum (("\cup" | "\cap" | "\setminus") sum)* [modulus]
    modulus  := "mod" sum | "(" "mod" sum ")" | "\pmod" primary
    sum      := product (("+" | "-" | "\pm" | "\mp") product)*
    product  := ("-" | "+") product | factor (("*" | "/" | nothing) signed)*
    signed   := ("-" | "+") signed | factor
    factor   := (mixed | primary) ("^" power | "!" | "!!" | "%" | "°" | "'")*
    power    := ["-" | "+"] primary ["^" power]
    mixed    := number "\frac" argument argument | number number "/" number
    primary  := number ["_" base] | letters | command | "|" sum "|" | group | brackets
    group    := "{" answer ["\over" answer | "\choose" answer] "}"
    brackets := ("(" | "[" | "]") answer (")" | "]" | "[")

Each method reads the rule of its docstring and leaves the parser behind it. Letters and LaTeX commands have rules of
their own further down. `docs/math-answers.md` shows all of it with examples.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn

from rlkit.verify.math.lexer import Token, tokenize
from rlkit.verify.math.names import (
    ACCENTS,
    BIG,
    CONSTANTS,
    ENGLISH,
    FUNCTIONS,
    LETTERS,
    RENAMED,
    STARTERS,
    TRIGONOMETRY,
    base_of,
)
from rlkit.verify.math.nodes import (
    DOTS,
    EXPRESSIONS,
    MINUS_ONE,
    Node,
    Unreadable,
    add,
    divide,
    is_count,
    mul,
    negate,
    number,
)
from rlkit.verify.math.notation import Notation
from rlkit.verify.math.number_sets import NUMBER_SETS

MAX_ITEMS = 100
"""Most items of a list, and cells of a matrix."""
_AFTER_INTERVAL = frozenset(("cup", "cap", "setminus", "or", "and", ",", ";", ")", "]", "}"))
"""What may stand behind an interval, and cannot begin a term."""
_MAX_DEPTH = 60
"""Deepest nesting of sums and brackets; keeps Python's own stack out of danger."""
_MAX_INDEX_DIGITS = 9
"""Digits of the n in C_n^k that are read; a number with more of them is no real count."""
_LONGEST_PRODUCT = 4
"""Letters that may be variables side by side, as in abcd; a longer run is a word."""
_SHORTEST_SPELLED_LETTER = 3
"""Shorter names of Greek letters ("mu", "nu") are two variables unless a backslash stands before them."""
_SHORTEST_LABEL = 3
"""An index of small letters is one label from this length on (v_max); a shorter one is a letter and a factor."""
_RELATIONS = {
    "=": "=",
    "<": "<",
    ">": ">",
    "le": "<=",
    "ge": ">=",
    "ne": "!=",
    "in": "in",
    "approx": "=",
    "equiv": "mod",
    ":": ":",
}
"""The sign of a relation by its token."""
_SET_OPERATIONS = {"cup": "union", "cap": "inter", "setminus": "minus"}
"""The operation on sets by its LaTeX command."""
_CONNECTIVES = ("or", "and", "mod", "if", "where", "for", "to", "in")
"""Words that stand between expressions, so none of them begins a factor."""
_COUNTS = {"C": "binom", "A": "perm", "P": "perm"}
"""The letter of C_n^k and A_n^k (also P_n^k), as combinations and arrangements are written in China."""
_INDEX_SUM = re.compile(r"[-+]?\w+(?:[-+]\w+)+")
"""An index such as n+1, whose terms are put in order so that n+1 and 1+n name the same variable."""
_INDEX_TERM = re.compile(r"[-+]\w+")
_MATRICES = ("matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "Vmatrix", "smallmatrix", "array")
_SYSTEMS = ("cases", "aligned", "align", "gathered")
_BUILDER_DOMAIN = re.compile(r"inmathbb\{([ZNQ][-+*]?)\}")
r"""The tokens behind the letter of \{k \in \mathbb{Z} | ...\}, joined: the numbers that the letter runs through."""
_BUILDER_DOMAIN_TOKENS = 6
_BUILDER_HEAD_TOKENS = 8
r"""The bar of a set builder comes within this many tokens of its brace: \{x \in \mathbb{R} | ...\}."""
_PARTS_OF_THE_LINE = {
    "R": Node("reals"),
    "R+": Node("seq", ("(", ")", number(0), CONSTANTS["oo"])),
    "R-": Node("seq", ("(", ")", negate(CONSTANTS["oo"]), number(0))),
    "R0+": Node("seq", ("[", ")", number(0), CONSTANTS["oo"])),
    "R*": Node("minus", (Node("reals"), Node("set", (number(0),)))),
}
r"""The sets of real numbers that \mathbb{} names, as regions."""


def parse(text: str, notation: Notation) -> Node:
    """The tree of a normalised answer without its unit.

    Args:
        text: What `normalize` gave.
        notation: How signs with two readings are read.

    Raises:
        Unreadable: it is no mathematics that this grammar knows.
    """
    return AnswerParser(tokenize(text, notation), imaginary=notation.imaginary).whole_answer()


class AnswerParser:
    """Reads tokens from left to right; `whole_answer` is the way in.

    Args:
        tokens: Of `tokenize`. Some are split while they are read, so the list belongs to the parser.
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

    # Lists, sets and relations.

    def whole_answer(self) -> Node:
        """The answer, which must take up all tokens.

        Raises:
            Unreadable: it does not, or it is no answer.
        """
        node = self._answer()
        if self._token.kind != "end":
            self._fail(f"an unexpected {self._token.text}")
        return node

    def _answer(self) -> Node:
        """answer := item ((("," | ";") ["and" | "or"] | "and" | "or") item)*"""
        items, joins = [self._item()], []
        while join := self._join(items[-1]):
            joins.append(join)
            items.append(self._item())
            if len(items) > MAX_ITEMS:
                self._fail("too many items")
        if not joins:
            return items[0] if items[0] != DOTS else self._fail("nothing but dots")
        return Node("list" if set(joins) == {","} else "or" if "or" in joins else "and", tuple(items))

    def _join(self, before: Node) -> str:
        """Takes what joins two items and returns how: ",", "and" or "or"; "" where the list ends."""
        comma = self._take(",", ";")
        if self._take("and", "land") or self._take_text("and"):
            return "and"
        if self._take("or", "lor") or self._take_text("or"):
            return "or"
        if comma:
            return ","
        # 1, 3, \ldots 99 without a comma behind the dots, and 1, 3, 5... without one before them; 3.1... is no list.
        dots_before = before == DOTS and self._starts_factor()
        dots_behind = self._is("ldots") and "." not in self._tokens[self._at - 1].text
        return "," if dots_before or dots_behind else ""

    def _item(self) -> Node:
        r"""item := "\ldots" | relation (("\cup" | "\cap" | "\setminus" | "-") relation)*"""
        if self._take("ldots"):
            return DOTS
        node = self._relation()
        while True:
            if self._is(*_SET_OPERATIONS):
                node = Node(_SET_OPERATIONS[self._next().text], (node, self._relation()))
            elif self._is("-") and node.op in ("reals", "seq", "union"):
                self._next()
                node = Node("minus", (node, self._relation()))
            else:
                return node

    def _relation(self) -> Node:
        """relation := ["="] side (sign side)*, with the signs of `_RELATIONS`."""
        if self._take("="):
            return self._relation()
        sides, signs = [self._side()], []
        while self._token.kind in ("op", "cmd", "word") and self._token.text in _RELATIONS:
            about = self._is("approx") and sides[-1].op != "sym"
            sign = _RELATIONS[self._next().text]
            if about:
                # 2/3 \approx 0.667 means 2/3.
                self._side()
                continue
            if sign in ("<", ">") and self._take("="):
                sign += "="
            elif sign == "=":
                # a == b, as programs write it.
                self._take("=")
            signs.append(sign)
            sides.append(self._side())
        if not signs:
            return sides[0]
        if set(signs) == {":"}:
            return Node("ratio", tuple(sides))
        if signs == ["mod"]:
            return sides[1] if sides[1].op == "mod" else self._fail("a congruence without its modulus")
        return Node("rel", (tuple(sides), tuple(signs)))

    def _side(self) -> Node:
        r"""side := sum (("\cup" | "\cap" | "\setminus") sum)* ["mod" sum | "(" "mod" sum ")" | "\pmod" primary]"""
        node = self._sum()
        if node.op not in EXPRESSIONS:
            # x \in A \cup B: the sets belong together.
            while self._is(*_SET_OPERATIONS):
                node = Node(_SET_OPERATIONS[self._next().text], (node, self._sum()))
        if self._take("mod"):
            return Node("mod", (node, self._sum()))
        if self._take("pmod"):
            return Node("mod", (node, self._primary()))
        if self._is("(") and self._tokens[self._at + 1].text == "mod":
            self._at += 2
            node = Node("mod", (node, self._sum()))
            self._expect(")")
        return node

    # Sums and products.

    def _sum(self) -> Node:
        r"""sum := product (("+" | "-" | "\pm" | "\mp") product)*; an ellipsis may be one of its terms."""
        self._deeper()
        terms = [self._plus_minus(number(0)) if self._is_plus_minus() else self._product()]
        while True:
            if self._take("+"):
                terms.append(DOTS if self._take("ldots") else self._product())
            elif self._is("-"):
                self._next()
                terms.append(Node("dots", ("-",)) if self._take("ldots") else negate(self._product()))
            elif self._is_plus_minus():
                terms = [self._plus_minus(terms[0] if len(terms) == 1 else add(*terms))]
            else:
                break
        self._depth -= 1
        if any(term.op == "dots" for term in terms):
            return Node("dotted", ("+", *terms))
        return terms[0] if len(terms) == 1 else add(*terms)

    def _is_plus_minus(self) -> bool:
        return self._token.kind == "cmd" and self._is("pm", "mp")

    def _plus_minus(self, left: Node) -> Node:
        sign = 1 if self._next().text == "pm" else -1
        return Node("pm", (left, self._product(), sign))

    def _product(self) -> Node:
        """product := ("-" | "+") product | factor (("*" | "/" | nothing) signed)*

        A leading minus covers the whole product. An ellipsis may stand among the factors.
        """
        if self._take("-"):
            return negate(self._product())
        if self._take("+"):
            return self._product()
        node = self._factor()
        # The factors as they are written, for a product with an ellipsis; `node` is their product.
        terms = [node]
        while True:
            if self._goes_on_as_a_product():
                terms.append(DOTS)
                self._take("*", "cdot", "times")
                terms.append(self._signed())
            elif self._take("*", "cdot", "times"):
                terms.append(self._signed())
                node = self._times(node, terms[-1])
            elif self._take("/"):
                factor = self._signed()
                node, terms[-1] = divide(node, factor), divide(terms[-1], factor)
            elif self._starts_factor():
                factor = self._factor_beside()
                node, terms[-1] = self._times(node, factor), self._times(terms[-1], factor)
            else:
                return Node("dotted", ("*", *terms)) if DOTS in terms else node

    def _signed(self) -> Node:
        """signed := ("-" | "+") signed | factor"""
        if self._take("-"):
            return negate(self._signed())
        return self._signed() if self._take("+") else self._factor()

    def _factor_beside(self) -> Node:
        """A factor without a sign before it; 3 7 and x 2 are none, but a_n 2^n is: there the letter is an index."""
        before = self._tokens[self._at - 1].kind
        is_name = before == "word" and self._tokens[self._at - 2].text != "_"
        if self._token.kind == "num" and (before == "num" or (is_name and self._token.spaced)):
            self._fail("a number behind a number or a word")
        return self._factor()

    def _goes_on_as_a_product(self) -> bool:
        r"""Takes the ellipsis of 1 \cdot 2 \cdots n; that of 1, 2, \ldots belongs to the list."""
        start = self._at
        self._take("*", "cdot", "times")
        if self._take("ldots") and (self._is("*", "cdot", "times") or self._starts_factor()):
            return True
        self._at = start
        return False

    def _times(self, left: Node, right: Node) -> Node:
        """A product in one flat node; the minus of a negated product stays apart."""
        if left.op == "mul" and left.args[0] is not MINUS_ONE:
            return Node("mul", (*left.args, right))
        return mul(left, right)

    def _starts_factor(self) -> bool:
        """Whether a factor begins here, so that it is multiplied with what stands before it."""
        token = self._token
        if token.kind == "num":
            return True
        if token.kind == "word":
            return token.text not in _CONNECTIVES
        if token.kind == "cmd":
            return token.text in LETTERS or token.text in ACCENTS or token.text in CONSTANTS or token.text in STARTERS
        if token.kind == "op" and token.text == "|":
            return self._bars == 0
        if token.kind == "op" and token.text == "[":
            return not self._closes_interval()
        return token.kind == "op" and token.text in ("(", "{")

    def _closes_interval(self) -> bool:
        """Whether a "[" is the right end of an interval, as in ]0, 1[: nothing that it could open follows it."""
        after = self._tokens[self._at + 1]
        return after.kind == "end" or after.text in _AFTER_INTERVAL

    # One factor: powers, signs behind it, mixed numbers, brackets.

    def _factor(self) -> Node:
        """factor := (mixed | primary) ("^" power | "!" | "!!" | "%" | "°" | "'")*"""
        node = self._mixed() or self._primary()
        while True:
            if self._take("^"):
                node = self._power(node)
            elif self._take("!"):
                node = Node("fn", ("fact2" if self._take("!") else "fact", node))
            elif self._take("%"):
                node = divide(node, number(100))
            elif self._take("°"):
                node = Node("fn", ("degrees", node))
            elif self._is("'") and node.op == "sym":
                self._next()
                node = Node("sym", (node.args[0] + "'",))
            else:
                return node

    def _power(self, base: Node) -> Node:
        """power := ["-" | "+"] primary ["^" power]"""
        if self._is("'", "prime"):
            self._fail("a prime")
        exponent = self._signed_primary()
        if self._take("^"):
            exponent = self._power(exponent)
        return Node("pow", (base, exponent))

    def _signed_primary(self) -> Node:
        if self._take("-"):
            return negate(self._primary())
        self._take("+")
        return self._primary()

    def _mixed(self) -> Node | None:
        r"""mixed := number "\frac" argument argument | number number "/" number; None where there is none.

        2\frac{1}{2} and 2 1/2: a whole number and a proper fraction side by side are added.
        """
        whole = self._token
        if whole.kind != "num" or whole.value.denominator != 1 or "." in whole.text:
            return None
        follows = self._tokens[self._at + 1]
        if follows.kind != "num" and follows.text != "frac":
            return None
        start, tokens = self._at, list(self._tokens)
        self._at += 1
        share = self._proper_fraction()
        if share is None:
            # In 5\\frac72 the 72 was split into its digits.
            self._at, self._tokens = start, tokens
            return None
        return number(whole.value + share.args[0])

    def _proper_fraction(self) -> Node | None:
        """The fraction of a mixed number, which is positive and below 1; None where there is none."""
        top = self._token
        if top.kind == "cmd" and top.text == "frac":
            self._next()
            over, under = self._argument(), self._argument()
            if is_count(over) and is_count(under) and over.args[0] < under.args[0]:
                return number(over.args[0] / under.args[0])
            return None
        if top.kind != "num" or not top.spaced or self._tokens[self._at + 1].text != "/":
            return None
        bottom = self._tokens[self._at + 2]
        are_whole = top.value.denominator == bottom.value.denominator == 1
        if bottom.kind == "num" and 0 < top.value < bottom.value and are_whole:
            self._at += 3
            return number(top.value / bottom.value)
        return None

    def _argument(self) -> Node:
        r"""What a command takes: a group in braces, or one sign: \frac12, \sqrt2."""
        token = self._token
        if token.kind == "num" and len(token.text) > 1 and token.text.isdigit():
            # One digit now; the rest stays where it is.
            rest = token.text[1:]
            self._tokens[self._at] = Token("num", rest, False, type(token.value)(int(rest)))
            return number(int(token.text[0]))
        return self._primary()

    def _primary(self) -> Node:
        """primary := number ["_" base] | letters | command | "|" sum "|" | group | brackets"""
        token = self._token
        if token.kind == "num":
            self._next()
            return self._based(token) if self._is("_") else Node("num", (token.value,))
        if token.kind == "word":
            return self._letters()
        if token.kind == "cmd":
            return self._command(self._next().text)
        if token.text == "|":
            return self._absolute()
        if token.kind == "op" and token.text == "{":
            return self._group()
        if token.kind == "op" and token.text in ("(", "[", "]"):
            return self._brackets()
        return self._fail(f"an unexpected {token.text or 'end'}")

    def _based(self, token: Token) -> Node:
        """The digits and the base of 12_8 or 12_{\\text{eight}}."""
        self._expect("_")
        base = self._group_as_text()
        if token.value.denominator != 1 or not token.text.isdigit():
            self._fail("a base behind a decimal")
        size = base_of(base.lower())
        if not 2 <= size <= 36 or any(int(digit) >= size for digit in token.text):
            self._fail("a number that its base does not have")
        return Node("based", (token.text.lstrip("0") or "0", size))

    def _absolute(self) -> Node:
        """The absolute value "|" sum "|"."""
        self._expect("|")
        self._bars += 1
        bars = self._bars
        inside = self._sum()
        if self._bars != bars:
            self._fail("unbalanced bars")
        self._bars -= 1
        self._expect("|")
        return Node("fn", ("abs", inside))

    def _group(self) -> Node:
        r"""group := "{" answer ["\over" answer | "\choose" answer] "}", LaTeX's invisible brackets."""
        self._next()
        if self._take("}"):
            self._fail("an empty group")
        inside = self._nested(self._answer)
        if self._take("over"):
            inside = divide(inside, self._nested(self._answer))
        elif self._take("choose"):
            inside = Node("fn", ("binom", inside, self._nested(self._answer)))
        self._expect("}")
        return inside

    def _brackets(self) -> Node:
        """brackets := ("(" | "[" | "]") answer (")" | "]" | "[")

        Around a list: a tuple, a point or an interval, as (1, 2), [0, 1) and the French ]0, 1[ for (0, 1). Around
        anything else: brackets that only group, which must match.
        """
        opening = self._next().text
        if self._is(")", "]") and opening != "]":
            self._fail("empty brackets")
        inside = self._nested(self._answer)
        closing = self._token.text
        if closing not in (")", "]", "[") or (closing == "[" and opening == "("):
            self._fail("unbalanced brackets")
        self._next()
        if inside.op == "list":
            return Node("seq", ("(" if opening == "]" else opening, ")" if closing == "[" else closing, *inside.args))
        if (opening, closing) not in (("(", ")"), ("[", "]")):
            self._fail("unbalanced brackets")
        return inside

    # Letters: functions, constants, variables side by side, names with an index.

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

    # Functions and big operators.

    def _function(self, name: str) -> Node:
        r"""A function with its base, its power and its argument: \sin^2 x, \log_2 8, \ln(x+1)."""
        base: Node | None = None
        power: Node | None = None
        while self._is("_", "^") and (power is None or base is None):
            if self._take("_"):
                base = self._primary()
            elif self._take("^"):
                minus = self._take("-")
                power = self._primary()
                power = negate(power) if minus else power
        argument = self._function_argument()
        if power == MINUS_ONE and name in TRIGONOMETRY:
            # \sin^{-1} x is the arcsine, no reciprocal.
            return Node("fn", ("a" + name, *argument))
        if name == "log" and base is not None:
            argument = (*argument, base)
        if name == "lg":
            name, argument = "log", (*argument, number(10))
        node = Node("fn", (name, *argument))
        return node if power is None else Node("pow", (node, power))

    def _function_argument(self) -> tuple[Node, ...]:
        """The brackets behind a function's name, with one or more arguments in them, or the factors up to a sign."""
        if self._is("(", "{", "[", "lbrace"):
            inside = self._primary()
            if inside.op in ("list", "seq", "set"):
                return tuple(arg for arg in inside.args if isinstance(arg, Node))
            # sin(x)^2 is (sin x)^2: the power is left for `_factor`.
            return (inside,)
        factors = [negate(self._factor())] if self._take("-") else [self._factor()]
        while self._starts_factor() and not self._starts_function():
            factors.append(self._factor())
        if factors[-1] == CONSTANTS["pi"] and self._is("/") and self._tokens[self._at + 1].kind == "num":
            # \sin \pi/6, but \ln 2/3 and sqrt3/2 end before the stroke.
            self._next()
            factors = [*factors[:-1], divide(factors[-1], self._factor())]
        return (factors[0] if len(factors) == 1 else mul(*factors),)

    def _starts_function(self) -> bool:
        """Whether a function begins here: \\sin x \\cos x has two arguments; but \\sin 2\\sqrt{3} has one."""
        token = self._token
        name = RENAMED.get(token.text, token.text)
        return (
            token.kind in ("cmd", "word") and (name in FUNCTIONS or token.text in BIG) and name not in ("sqrt", "cbrt")
        )

    def _big(self, kind: str) -> Node:
        r"""\sum_{k=1}^{n} body, \prod, \int_a^b body dx, \lim_{x \to a} body."""
        if kind == "int":
            return self._integral()
        self._expect("_")
        self._expect("{")
        variable = self._next().text
        if not self._take("=", "to", "rightarrow"):
            self._fail("a big operator without its variable")
        low = self._sum()
        self._expect("}")
        high = MINUS_ONE
        if kind != "lim":
            self._expect("^")
            high = self._primary()
        return Node("big", (kind, variable, low, high, self._product()))

    def _integral(self) -> Node:
        r"""The bounds, the body and the variable of \int_a^b body dx."""
        low = high = None
        while self._is("_", "^"):
            if self._take("_"):
                low = self._primary()
            elif self._take("^"):
                high = self._primary()
        end = next((i for i in range(self._at, len(self._tokens)) if _is_differential(self._tokens, i)), None)
        if end is None or low is None or high is None:
            self._fail("an integral without its bounds or dx")
        token = self._tokens[end]
        if token.text == "d":
            variable, skip = self._tokens[end + 1].text, 2
        else:
            variable, skip = token.text[-1], 1
        head = [Token("word", token.text[:-2])] if len(token.text) > 2 else []
        inner = AnswerParser([*self._tokens[self._at : end], *head, Token("end", "")], imaginary=self._imaginary)
        body = inner._sum() if inner._token.kind != "end" else number(1)
        self._at = end + skip
        return Node("big", ("int", variable, low, high, body))

    # What stands behind a backslash.

    def _command(self, name: str) -> Node:
        """A LaTeX command that has been taken, with what belongs to it."""
        renamed = RENAMED.get(name, name)
        if name == "sqrt":
            return self._root()
        if renamed in FUNCTIONS:
            return self._function(renamed)
        if name in CONSTANTS:
            return CONSTANTS[name]
        if name in LETTERS:
            return self._indexed(name)
        if name in BIG:
            return self._big(name)
        if name in ("overline", "bar") and self._is("{") and self._tokens[self._at + 1].kind == "num":
            # \overline{3 + 4i}; \overline{AB} is a name.
            return Node("fn", ("conj", self._primary()))
        if name in ACCENTS:
            return Node("sym", (f"{name} {self._group_as_text()}",))
        match name:
            case "frac":
                top = self._argument()
                return divide(top, self._argument())
            case "binom":
                top = self._argument()
                return Node("fn", ("binom", top, self._argument()))
            case "lfloor" | "lceil":
                return self._rounded("floor" if name == "lfloor" else "ceil")
            case "angle":
                return Node("sym", (f"angle {self._next().text}",))
            case "emptyset":
                return Node("set", ())
            case "mathbb":
                return self._number_set()
            case "lbrace":
                return self._set()
            case "begin":
                return self._environment()
        return self._fail(f"the command \\{name}")

    def _root(self) -> Node:
        r"""\sqrt{2}, \sqrt[3]{2}"""
        degree = None
        if self._is("[") and self._token.kind == "op":
            self._next()
            degree = self._nested(self._sum)
            self._expect("]")
        inside = self._primary()
        return Node("fn", ("sqrt", inside) if degree is None else ("root", inside, degree))

    def _rounded(self, function: str) -> Node:
        r"""\lfloor sum \rfloor, \lceil sum \rceil"""
        inside = self._nested(self._sum)
        self._expect("r" + function)
        return Node("fn", (function, inside))

    def _number_set(self) -> Node:
        r"""\mathbb{R}, \mathbb{Z}"""
        name = self._group_as_text()
        if name not in NUMBER_SETS:
            self._fail("a set")
        return _PARTS_OF_THE_LINE.get(name) or Node("text", (f"\\{name}",))

    def _set(self) -> Node:
        r"""\{1, 2\} and \{x | x > 3\}."""
        if self._take("rbrace"):
            return Node("set", ())
        bars, self._bars = self._bars, 1
        behind = self._tokens[self._at + 1 : self._at + 1 + _BUILDER_DOMAIN_TOKENS]
        domain = _BUILDER_DOMAIN.match("".join(token.text for token in behind))
        inside = self._builder_letter() or self._nested(self._answer)
        self._bars = bars
        if self._take("|", ":"):
            inside, variable = self._nested(self._answer), inside
            self._expect("rbrace")
            if domain is not None:
                return Node("given", (inside, Node("text", (f"\\{domain[1]}",)), variable))
            return inside
        self._expect("rbrace")
        return Node("set", inside.args if inside.op in ("list", "and", "or") else (inside,))

    def _builder_letter(self) -> Node | None:
        r"""Takes the letter of a set builder, with "\in \mathbb{R}" after it or not; None where this is another set."""
        texts = [token.text for token in self._tokens[self._at : self._at + _BUILDER_HEAD_TOKENS]]
        if not {"|", ":"} & set(texts):
            return None
        bar = min(texts.index(text) for text in ("|", ":") if text in texts)
        if texts[0] == "in" or not texts[0].isalpha() or (bar != 1 and texts[1] != "in"):
            return None
        self._at += bar
        return Node("sym", (texts[0],))

    def _environment(self) -> Node:
        r"""\begin{pmatrix} ... \end{pmatrix}: a matrix, or a system where each row is a relation."""
        environment = self._group_as_text()
        if environment == "array" and self._is("{"):
            self._group_as_text()
        if environment in _SYSTEMS:
            # x &= 1: there the signs only align.
            self._tokens[self._at :] = [t for t in self._tokens[self._at :] if t.text != "&" or t.kind != "op"]
        rows = self._rows()
        self._group_as_text()
        if len({len(row) for row in rows}) != 1:
            self._fail("an environment without even rows")
        if len(rows[0]) == 1 and (environment in _SYSTEMS or all(row[0].op == "rel" for row in rows)):
            return Node("and", tuple(row[0] for row in rows))
        if environment not in _MATRICES:
            self._fail("an environment")
        matrix = Node("matrix", tuple(tuple(row) for row in rows))
        return Node("fn", ("det", matrix)) if environment == "vmatrix" else matrix

    def _rows(self) -> list[list[Node]]:
        r"""The rows of an environment that are not empty, up to its \end."""
        rows: list[list[Node]] = [[]]
        while not self._take("end"):
            if self._take("newline"):
                rows.append([])
            elif not self._take("&") and not self._take(","):
                rows[-1].append(self._nested(self._relation))
            if sum(map(len, rows)) > MAX_ITEMS:
                self._fail("too many items")
        return [row for row in rows if row]


def _is_differential(tokens: list[Token], at: int) -> bool:
    """Whether dx begins here, in a word of its own or at the end of one: x dx, xdx."""
    token = tokens[at]
    if token.kind != "word":
        return False
    return (token.text == "d" and tokens[at + 1].kind == "word") or (
        len(token.text) >= 2 and token.text[-2] == "d" and token.text not in FUNCTIONS
    )
