r"""Prose round one answer: "The answer is 12", "答案：12", "\text{The area is } 13", "13 \text{ is the answer}".

Only sentences of a known form are taken off, so no word that changes the value goes with them: "twice the answer is
12", "the answer is not 12" and "12 or 13 is the answer" stay as they are, and equal nothing.
"""

from __future__ import annotations

import re

# Pieces of sentences that say which the answer is; only sentences made of these alone are taken off.
_SO = r"(?:(?:so|thus|therefore|hence|finally|consequently|in conclusion|we (?:conclude|find|get)(?: that)?)[,:]? +)*"
_ADJECTIVES = r"(?:(?:final|correct|right|required|desired|exact|numerical|simplified) +)*"
_OF = r"(?: +(?:to|for) +(?:the|this) +(?:problem|question)| +of +(?:(?:the|this) +expression|\$?[A-Za-z]\$?))?"
_IS = r"\**(?: +(?:is|are|equals)(?![A-Za-z])| *[:=])+\** *(?:(?:equal to|simply|just|exactly|given by)\b)? *"
_ENGLISH = (
    rf"(?:(?:the|our|my|its) +)?{_ADJECTIVES}(?:answer|ans\.?|result|value|solution|total){_OF} *{_IS}"
    r"|there +(?:are|is)(?: +(?:exactly|a +total +of|in +total))? +|we +(?:have|get|obtain|find) +|it +is +(?=[-\d$\\])"
)
_CHINESE = (
    r"(?:(?:因此|所以|于是|故|即|综上(?:所述)?),? *)?(?:最终|最后|正确|标准|参考|本题|此题|该题)?的?"
    r"(?:\[答案\] *:?|(?:答案|结果)(?:应该|应)?(?:[是为:=] *)+|答 *: *)"
)
_LEAD = re.compile(rf"[#*_ ]*(?:{_SO}(?:{_ENGLISH})|{_CHINESE})", re.IGNORECASE)
"""Such a sentence before an answer."""
_TRAIL = re.compile(
    rf"[,:]? +(?:which +)?is +(?:the|our|my) +{_ADJECTIVES}(?:answer|result|solution)[ .]*$"
    r"|,?(?:是|为)(?:最终)?答案$",
    re.IGNORECASE,
)
"""Such words behind an answer: "12 is the answer"."""
_NAMED_VALUE = re.compile(
    rf"{_SO}(?:the|its|their|our|this) +([a-z]+(?: +[a-z]+){{0,6}}?) *(?:(?: is| are| equals)(?![a-z])|:) *"
    r"(?=[-\d$\\(])",
    re.IGNORECASE,
)
"""A quantity and its value: "the area of the circle is 12"."""
_PROSE = re.compile(
    "(?<![A-Za-z])(?:is|are|equals|ans|answer|we|result|value|solution|total)(?![A-Za-z])|[答结]", re.IGNORECASE
)
"""One of these is in every such sentence: a text without any needs no search."""
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mbox|textnormal) ?\{([^{}]*)\}")
_CHANGING_WORDS = """
    not no never cannot but except minus plus less more fewer greater smaller larger than least most at below above over
    under between about around nearly almost roughly approximately either neither or if unless maybe perhaps possibly
    probably half twice double triple thrice third quarter tenth square cube root power log logarithm reciprocal inverse
    opposite negative wrong incorrect false previous next other bound estimate guess times without was were would could
    should may might"""
_CHANGING = frozenset(_CHANGING_WORDS.split())
"""A quantity with one of these words in its name is not the one that was asked for: "twice the area is 12"."""


def without_prose(text: str) -> str:
    r"""A text without the sentence round its answer; the name of a quantity is kept: `\text{area} = 12`."""
    if not _PROSE.search(text):
        return text
    flat = " ".join(_TEXT.sub(r" \1 ", text).split()) if "\\" in text else text
    bare = _TRAIL.sub("", flat)
    if match := _LEAD.match(bare):
        return bare[match.end() :]
    if (match := _NAMED_VALUE.match(bare)) and not _CHANGING & set(match[1].lower().split()):
        return rf"\text{{{match[1].lower()}}} = {bare[match.end() :]}"
    return bare if bare != flat else text
