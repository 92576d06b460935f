"""Words by which a reply takes its answer back: only what follows the last of them can be its answer.

The search takes time linear in the text's length, because every run of words or signs is bounded.
"""

from __future__ import annotations

import re

# Pieces of the sentences below.
_SIGNS = r"[,.!:;…—– -]{0,8}"
_DOUBT = rf"\b(?:wait|hmm{{1,8}}|oops|sorry|hold on|actually|no)\b{_SIGNS}"
_DOUBT += rf"(?:(?:but|no|oh|actually|I think)\b{_SIGNS}){{0,3}}"
_IS = r"(?:'s|’s| is| was| can(?:no|')t be)"
_WRONG = r"(?:wrong|incorrect|mistaken|not (?:right|correct|true)|an? (?:mistake|error))"
_LOOKS_WRONG = r" (?:doesn['’]t|does not|can['’]t|cannot) (?:look|seem|be) (?:right|correct)"
_ERROR = r"I (?:have )?(?:made|see|found) (?:a|an|my) (?:\w{1,20} )?(?:mistake|error)"
_CLAUSE_END = r"(?=\s*(?:[,.;:!…—–-]|$)|\s+(?:because|since|so|and|it|I)\b)"
_BEFORE_VALUE = r"[,.!:; …]{0,8}(?:it(?:['’]s| is) )?(?=(?:the answer (?:is|should be) )?(?:\*\*)?[-\d$\\])"
_KINDS = (
    # Wait, that is wrong. Hmm, I made a mistake.
    rf"{_DOUBT}(?:(?:that|this|it|which)(?:{_IS} (?:\w{{1,20}} )?{_WRONG}|{_LOOKS_WRONG})|{_ERROR}){_CLAUSE_END}",
    # Wait, no.
    r"\b(?:wait|oops|sorry|hmm{1,8})\b[,.!…—– -]{1,8}no\b(?= ?[,.!:;…—–-])",
    # Correction: 6. My mistake, it's 6.
    rf"\b(?:scratch that|let me correct (?:that|this|it|myself)|my (?:mistake|bad|error)){_BEFORE_VALUE}",
    rf"\b(?:correction:|rather,|on second thought|I mean|actually,? (?:it|that)(?:['’]s| is)){_BEFORE_VALUE}",
    # A sentence of its own: That is not correct.
    rf"(?:^|[.!…]\s{{1,4}})(?:(?:that|this){_IS} {_WRONG}|{_ERROR})(?= ?[.,;:!…—–-])",
    r"(?:^|[。！？!?…]|等等|等一下|抱歉|哦)[，,…\s]{0,4}(?:这|上面|刚才)?(?:不对|错了|算错了|有误)(?=[，。！,.!：:；…\s]|$)",
    rf"更正：?{_BEFORE_VALUE}",
)
"""Sentences that take an answer back, kind by kind."""
_SIGNALS = (
    *("wrong", "correct", "mistak", "error", "not true", " right", "wait", "oops", "sorry", "hmm"),
    *("scratch that", "second thought", "i mean", "actually", "rather", "my bad", "不对", "错了", "有误", "更正"),
)
"""One of these is in every such sentence: most replies have none, and need no search."""
_RETRACTION = re.compile("|".join(_KINDS), re.IGNORECASE | re.MULTILINE)


def not_retracted(text: str) -> str:
    """The text behind the last words that take an answer back; the whole text where there are none.

    "Answer: 5. Wait, that is wrong. It is 6." -> ". It is 6."
    """
    lowered = text.lower()
    if not any(signal in lowered for signal in _SIGNALS):
        return text
    return text[max((match.end() for match in _RETRACTION.finditer(text)), default=0) :]
