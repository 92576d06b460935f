r"""Sets of numbers in one spelling, and the condition that a letter is in one.

"k \in \mathbf Z_+" -> "k \in \mathbb{Z+}";  "k\pi (k 为整数)" -> "k\pi, k \in \mathbb{Z}"

Names: R Z N Q C, with + - * for the positive, the negative and those that are not 0; N counts from 0, R0+ too.
"""

from __future__ import annotations

import re

NUMBER_SETS = frozenset(name + sign for name in "RZNQC" for sign in ("", "+", "-", "*")) | {"R0+", "Q0+"}
"""What may stand in \\mathbb{}."""
# The parts of a set's name: a font, a letter in braces or without, and a sign as its power or index.
_FONTS = r"\\(?:mathbb|mathbf|mathrm|mathcal|mathds|mathsf|mathscr|mathit|boldsymbol|bm|Bbb|textbf|textrm|text|bf|rm)"
_LETTER = r"(?:\{ ?([RZNQC]) ?\}| ?([RZNQC])(?![A-Za-z]))"
_SIGN = r"(?: ?[\^_] ?(?:\{ ?([^{}]{1,8}?) ?\}|([-+*0]|\\cdot(?![a-z]))))?"
_MEMBER = re.compile(
    rf"(\\(?:in|subseteq|subset|setminus) ?)(?:{_FONTS} ?{_LETTER}|\{{ ?([RZNQ]) ?\}}|\\?([RZNQ])(?![A-Za-z])){_SIGN}"
)
r"""Behind \in and the like a letter names a set in any font, or in none."""
_ANYWHERE = re.compile(rf"()(?:\\(?:mathbb|mathds|Bbb) ?{_LETTER}|\\([RZNQC])(?![A-Za-z])){_SIGN}")
"""Elsewhere only in a font that is made for sets."""
_WHOLE = re.compile(rf"()(?:\\(?:mathbf|boldsymbol|bm) ?{_LETTER}){_SIGN}")
"""An answer that is nothing but a bold letter."""
_MAY_HOLD_A_SET = re.compile(r"\\(?:in|subset|setminus|math(?:bb|bf|ds)|boldsymbol|bm|Bbb|[RZNQC])(?![a-z])")
"""A quick look: a text without a match names no set."""
_POSITIVE = frozenset(("+", "*", ">0", r"\ge1", r"\cdot"))
"""Signs of the positive numbers of a set; a star is that of N, elsewhere it leaves out 0 only."""
_FROM_ZERO = frozenset(("0", r"\ge0", "0+"))
"""Signs of the numbers from 0 on."""
_TEXT = r"(?:\\(?:text|mathrm|mbox|textrm) ?\{)?"
_WHERE = rf"[,;]? ?\(? ?(?:{_TEXT} ?(?:where|for|with)? ?\}}?)? ?"
_BEHIND = r"(?<=.)"
r"""A condition stands behind an answer; by itself `k \in \mathbb{Z}` is one."""
_CONDITION = re.compile(rf"{_BEHIND}{_WHERE}([A-Za-z]) ?\\in ?\\mathbb ?\{{([ZNQ][-+*]?)\}} ?\)?$")
r"""k\pi, k \in \mathbb{Z} with its comma, brackets or "where"."""
_KIND = (
    r"(positive |negative |non-?negative )?(integer|natural number|rational number)s?|(正|负|非负)?(整数|自然数|有理数)"
)
"""The numbers of a condition in words, in English or Chinese."""
_IN_WORDS = re.compile(
    rf"{_BEHIND}[,;]? ?\(? ?{_TEXT} ?(?:where |for |with )?\}}? ?\$?([A-Za-z])\$? ?{_TEXT} ?"
    rf"(?:is|为|是) ?(?:an?|any|some)? ?(?:arbitrary )?(?:{_KIND}) ?\}}? ?\)?$"
)
"""k\\pi, where k is an integer."""
_FOR_INTEGERS = re.compile(
    rf"{_BEHIND}[,;]? ?\(? ?{_TEXT} ?for (?:any |all |some |every |each )?(?:{_KIND}) ?\}}? ?"
    r"\$?([A-Za-z])\$? ?\}? ?\)?$"
)
"""k\\pi for any integer k."""
_NAMED_IN_WORDS = re.compile("integer|natural|rational|[整然理]数")
"""A quick look: a text without a match has no condition in words."""
_KINDS = {"integer": "Z", "整数": "Z", "natural number": "N", "自然数": "N", "rational number": "Q", "有理数": "Q"}
_KIND_SIGNS = {"positive": "+", "正": "+", "negative": "-", "负": "-"}


def plain_sets(text: str) -> str:
    r"""Every set of numbers as \mathbb{}, and the condition at the end of an answer as `, k \in \mathbb{Z}`."""
    if _MAY_HOLD_A_SET.search(text):
        text = _ANYWHERE.sub(_plain, _MEMBER.sub(_plain, text))
        whole = _WHOLE.fullmatch(text)
        text = _plain(whole) if whole else text
        text = _CONDITION.sub(r", \1 \\in \\mathbb{\2}", text)
    if _NAMED_IN_WORDS.search(text):
        text = _IN_WORDS.sub(_from_words, text)
        text = _FOR_INTEGERS.sub(_from_words, text)
    return text


def _plain(match: re.Match[str]) -> str:
    r"""A set as \mathbb{}; as it stands where its sign has no known meaning."""
    before, *letters, grouped_sign, bare_sign = match.groups()
    name = next(letter for letter in letters if letter)
    sign = (grouped_sign or bare_sign or "").replace(" ", "")
    return rf"{before}\mathbb{{{_name(name, sign)}}}" if _is_known(sign) else match[0]


def _is_known(sign: str) -> bool:
    """Whether a power or an index of a set states which of its numbers are meant."""
    return sign in ("", "-", "<0") or sign in _POSITIVE or sign in _FROM_ZERO


def _name(name: str, sign: str) -> str:
    """The one name of a set with a sign: N^* is Z+, Z_{\\ge 0} is N."""
    if name == "N":
        # N_0 and N both count from 0; a writer who counts from 1 writes N^* or N^+.
        return "Z+" if sign in _POSITIVE else "N"
    if sign in _FROM_ZERO:
        return "N" if name == "Z" else f"{name}0+"
    if sign in ("*", r"\cdot"):
        return f"{name}*"
    return name + ("+" if sign in _POSITIVE else "-" if sign else "")


def _from_words(match: re.Match[str]) -> str:
    """A condition in words as one in signs."""
    letter = next(group for group in match.groups() if group and len(group) == 1 and group.isascii())
    words = [group for group in match.groups() if group and group is not letter]
    kind = next(_KINDS[word] for word in words if word in _KINDS)
    sign = next((word.strip() for word in words if word not in _KINDS), "")
    from_zero = sign in ("nonnegative", "non-negative", "非负")
    name = "N" if from_zero else kind + _KIND_SIGNS.get(sign, "")
    return rf", {letter} \in \mathbb{{{'Z+' if name == 'N+' else name}}}"
