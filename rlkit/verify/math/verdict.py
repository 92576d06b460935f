"""The verdict on two texts: choices, words, units and then mathematics. Pure; `math_worker` runs it in a process.

The order of the rules is that of `judge_texts`: the first that applies decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rlkit.verify.math.compare import same_answer
from rlkit.verify.math.equality import has_value, infinite
from rlkit.verify.math.exact import NotExact, Undefined, rational
from rlkit.verify.math.nodes import EXPRESSIONS, Node, contains, subtract, symbols
from rlkit.verify.math.normal import normalize
from rlkit.verify.math.notation import Notation, names_of_e
from rlkit.verify.math.numeric import Evaluator
from rlkit.verify.math.read_answer import Reading, read
from rlkit.verify.math.symbolic import evaluate
from rlkit.verify.math.words import choice_letter, several_letters, without_commands

_BIG = frozenset(("big",))
_UNEVALUATED = frozenset(("big", "dotted"))
"""Operations that leave work to the judge."""
_DIGITS = 30
"""Decimal digits to which a gold's value and a tolerance are worked out."""
_UNDEFINED = "undefined"
_NOT_SHOWN = ("wrong", "not shown equal")
_COLLECTIONS = frozenset(("list", "set", "seq", "and", "or"))
"""Answers whose commas may have been read as those of thousands."""
_SHORT_WORDS = frozenset(("no", "on", "up", "am", "pm", "in", "to", "so", "if", "or"))
"""Words that are also products of two letters; as an answer they are the word."""
_RUNNING_I = re.compile(r"_\{? ?i ?=")
"""i as the variable of a sum. In an answer nothing else makes i a variable: the gold decides."""
_INDEX_I = re.compile(r"(?<![A-Za-z\\])i ?(?:=|<|>|\\le|\\ge|\\in)|_\{? ?i ?=")
"""i as a variable: it is compared, or runs through a sum."""
_SMALL_LETTERS = "abcdefghij"
"""A gold such as "c" may be a variable, so an answer that is no choice is compared with it as mathematics."""
_LONG_WORD = 3
"""From this length on a run of letters is a word where the answer may be one."""
_READS_AS_TEXT = re.compile(r"[^\W\d_]{3}|[\u4e00-\u9fff]")
"""A gold with a word in it was meant as text; without one it was meant as mathematics and could not be read."""
_NO_TEXT = re.compile(r"[\s.,;:'\"!?{}$]+")
"""Signs that do not count where two texts are compared letter by letter."""


@dataclass(frozen=True)
class Options:
    """Settings of a recipe or a task."""

    tolerance: float = 0.0
    """Largest relative difference of two numbers that counts as equal; 0: exact."""
    unevaluated: bool = True
    """Whether an answer may leave a sum, product, integral or limit to be worked out."""
    choices: Mapping[str, str] = field(default_factory=dict)
    """The texts of a multiple-choice task by letter."""


def judge_texts(gold: str, answer: str, options: Options, gold_is_read: Callable[[], None]) -> tuple[str, str]:
    """("correct" | "wrong" | "unscored", why).

    Args:
        gold: The reference.
        answer: The bare answer.
        options: See `Options`.
        gold_is_read: Called once the gold has been read: the answer is at fault for what goes wrong later.
    """
    texts = normalize(gold), normalize(answer)
    chosen = _by_letter(*texts, options.choices)
    if chosen is not None:
        return chosen
    imaginary = _INDEX_I.search(gold) is None and _RUNNING_I.search(answer) is None
    notation = Notation(imaginary=imaginary, names=names_of_e(*texts))
    wanted = read(gold, notation)
    fault = _fault(wanted.tree) if wanted.tree is not None else ""
    gold_is_read()
    if fault == _UNDEFINED:
        return "unscored", f"the gold cannot be read: {fault}"
    given = read(answer, notation)
    if not wanted.text:
        return "unscored", "the gold cannot be read: empty"
    if wanted.text == given.text and (wanted.tree is not None or wanted.words is not None):
        return "correct", "same text"
    if _only_words(wanted) or (wanted.tree is None and wanted.words is not None):
        return ("correct", "same words") if wanted.words == given.words else ("wrong", "other text")
    if wanted.tree is None:
        return _by_text(wanted, given)
    if given.tree is None or _only_words(given):
        return "wrong", "unparsable"
    if not options.unevaluated and contains(given.tree, _UNEVALUATED) and not contains(wanted.tree, _UNEVALUATED):
        return "wrong", "unevaluated"
    found = _by_mathematics(wanted, given, answer, notation, options)
    # A huge gold can be compared by its form or its logarithm; where neither decides, the gold is at fault.
    return ("unscored", f"the gold cannot be worked out: {fault}") if fault and found == _NOT_SHOWN else found


def _fault(tree: Node) -> str:
    """Why a gold has no value that can be worked out; "" where it has one, or has variables."""
    if tree.op not in EXPRESSIONS:
        inside = (arg for arg in tree.args if isinstance(arg, Node))
        return next((fault for arg in inside if (fault := _fault(arg))), "")
    if symbols(tree) or not _plain(tree) or infinite(tree):
        return ""
    try:
        tree = evaluate(tree) if contains(tree, _BIG) else tree
        rational(tree)
        return ""
    except NotExact:
        pass
    except Undefined:
        return _UNDEFINED
    try:
        Evaluator(_DIGITS, {}).value(tree)
        return ""
    except NotExact:
        return "too large, or of no known value" if has_value(tree) else _UNDEFINED
    except Undefined:
        return _UNDEFINED


def _plain(node: Node) -> bool:
    """Whether there are numbers only: no matrix, no plus-minus."""
    return node.op in EXPRESSIONS and node.op != "pm" and all(_plain(arg) for arg in node.args if isinstance(arg, Node))


def _only_words(reading: Reading) -> bool:
    """Whether letters are a word and no product: "even" is not n e v e."""
    words = reading.words
    if words is None or reading.tree is None:
        return words is not None
    if reading.tree.op not in EXPRESSIONS or any(c in reading.text for c in "^_"):
        return False
    return (len(words) >= _LONG_WORD and reading.tree.op == "mul") or words in _SHORT_WORDS


def _by_letter(gold: str, answer: str, choices: Mapping[str, str]) -> tuple[str, str] | None:
    """The verdict where the gold is a choice letter, or where a letter is the answer and the gold a choice's text."""
    several = several_letters(gold)
    if several is not None and len(several) > 1:
        same = several == several_letters(answer)
        return ("correct", "same choices") if same else None
    wanted, given = choice_letter(gold), choice_letter(answer)
    if wanted is not None and (not wanted[1] or choices):
        letter = wanted[0]
        if given is not None and (not given[1] or several_letters(answer.upper()) is None):
            same = given[0] == letter and not _means_another(letter, given[1], choices)
            return ("correct", "same choice") if same else ("wrong", "another choice")
        if letter in choices and several_letters(answer.upper()) is None:
            return _by_choice_text(letter, answer, choices)
        if gold.strip() not in _SMALL_LETTERS:
            return "wrong", "no choice"
        return None
    if given is not None and not given[1] and given[0] in choices:
        verdict = judge_texts(gold, choices[given[0]], Options(), _nothing)
        return verdict if verdict[0] != "unscored" else None
    return None


def _means_another(letter: str, after: str, choices: Mapping[str, str]) -> bool:
    """Whether what follows the letter is another choice's text: "(A) 6" where 6 is B."""
    if not after or letter not in choices or judge_texts(choices[letter], after, Options(), _nothing)[0] == "correct":
        return False
    others = (text for key, text in choices.items() if key != letter)
    return any(judge_texts(text, after, Options(), _nothing)[0] == "correct" for text in others)


def _nothing() -> None:
    """For choices' texts, which are read after the gold."""


def _by_choice_text(letter: str, answer: str, choices: Mapping[str, str]) -> tuple[str, str]:
    """The choice's text counts as its letter where no other choice has the same text."""
    matching = [key for key, text in choices.items() if judge_texts(text, answer, Options(), _nothing)[0] == "correct"]
    return ("correct", "the choice's text") if matching == [letter] else ("wrong", "another choice")


def _by_text(wanted: Reading, given: Reading) -> tuple[str, str]:
    """A gold that is neither words nor mathematics: the same characters, or, where it reads as text, another text."""
    left, right = _letters(wanted.text), _letters(given.text)
    if left and left == right:
        return "correct", "same text"
    if _READS_AS_TEXT.search(left) and "\\" not in left:
        return "wrong", "other text"
    return "unscored", f"the gold cannot be read: {wanted.problem}"


def _letters(text: str) -> str:
    """A text without case, blanks and signs that do not count."""
    return _NO_TEXT.sub("", without_commands(text).casefold())


def _by_mathematics(
    wanted: Reading, given: Reading, answer: str, notation: Notation, options: Options
) -> tuple[str, str]:
    """The verdict on two readings that are mathematics."""
    if _is_variable(wanted, given) or _is_variable(given, wanted):
        notation = notation._replace(unit_letters=False)
        wanted, given = read(wanted.text, notation), read(given.text, notation)
    gold_tree, tree = wanted.tree, given.tree
    if gold_tree is None or tree is None:
        return "wrong", "unparsable"
    if wanted.unit and given.unit and wanted.unit != given.unit and not _degrees(wanted.unit, given.unit):
        return "wrong", f"another unit: {given.unit}, not {wanted.unit}"
    try:
        if same_answer(gold_tree, tree) or _near(gold_tree, tree, options.tolerance):
            return "correct", "equal"
        if gold_tree.op in _COLLECTIONS and tree.op == "num" and "," in answer:
            # 100,200 beside {100, 200}: the commas part items.
            parted = read(answer, notation._replace(grouped=False))
            if parted.tree is not None and same_answer(gold_tree, parted.tree):
                return "correct", "equal"
    except (NotExact, RecursionError):
        return _NOT_SHOWN
    except Undefined:
        return "wrong", "undefined"
    return "wrong", "not equal"


def _is_variable(reading: Reading, other: Reading) -> bool:
    """Whether the letter behind a number is a variable: m of 5m beside 5m + 3, d of 2d wherever there are no days."""
    days = other.unit == "day" and not other.letter
    return reading.letter in symbols(other.tree) or (reading.letter == "d" and not days)


def _degrees(left: str, right: str) -> bool:
    """25° and 25°C: the scale is left out."""
    return "°" in (left, right) and left.startswith("°") and right.startswith("°")


def _near(gold: Node, answer: Node, tolerance: float) -> bool:
    """Whether two numbers differ by no more than a tolerance relative to the gold; False where there is none."""
    if not tolerance or gold.op not in EXPRESSIONS or answer.op not in EXPRESSIONS or symbols(gold) or symbols(answer):
        return False
    try:
        evaluator = Evaluator(_DIGITS, {})
        size = abs(evaluator.value(gold))
        return bool(abs(evaluator.value(subtract(gold, answer))) <= tolerance * size)
    except (NotExact, Undefined):
        return False
