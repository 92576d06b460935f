"""The tokens of arithmetic as people, Markdown and LaTeX write it, in one plain spelling."""

from __future__ import annotations

import re
from dataclasses import dataclass

_REWRITES = (
    # Runs of blanks and of empty lines first: each later pattern then looks at a few characters only.
    (re.compile(r"[ \t]+"), " "),
    (re.compile(r"\n[ \n]*"), "\n"),
    # The mark or the number of a list's item.
    (re.compile(r"^[ \t]*(?:[-*•][ \t]+|\(?\d{1,2}\)[ \t]+)", re.MULTILINE), ""),
    # An environment's begin and end part formulas; a line that ends with = continues in the next.
    (re.compile(r"\\(?:begin|end)\{[a-z]{1,20}\*?\}"), "\n"),
    (re.compile(r"=[ \t]*\n[ \t\n]*"), "= "),
    # A line or a row of an alignment that begins with a relation continues the line before it.
    (re.compile(r"[ \t]*(?:\\\\|\n)[ \t\n]*&?[ \t]*(?=[=≈≤≥<>]|\\(?:approx|leq?|geq?)\b)"), " "),
    # LaTeX's formula marks and line breaks end a formula.
    (re.compile(r"\\[()\[\]]|\\\\"), "\n"),
    # Text and units within a formula are words; commands that change only its look, and signs of degrees, are nothing.
    (re.compile(r"\\(?:text|mathrm|mbox|textbf|mathbf|textit)[ \t]*\{([^{}\n]{0,80})\}(?:\^\{?[23]\}?)?"), r" \1 "),
    (re.compile(r"\\(?:left|right|displaystyle|big|Big)(?![a-zA-Z])|\\[,;:! ]|\\?\$|&"), " "),
    (re.compile(r"\^?[ \t]*(?:\\circ(?![a-zA-Z])|\{[ \t]*\\circ[ \t]*\})|°"), " "),
    # A box begins a formula of its own, unless a relation leads to it.
    (re.compile(r"(?<==)[ ]?\\boxed(?![a-zA-Z])"), " "),
    (re.compile(r"\\boxed(?![a-zA-Z])"), "\\n"),
    # "13 I think", "5 a day": these letters are words.
    (re.compile(r"(?<= )[aAI](?= [a-zA-Z]{2})"), ";"),
    # Bold marks of Markdown are no powers.
    (re.compile(r"(?<![\w)}])\*\*|\*\*(?![\w(-])"), " "),
    # \frac12
    (re.compile(r"(\\[dtc]?frac)[ \t]*(\d)[ \t]*(\d)"), r"\1{\2}{\3}"),
    # Thousands: 1,000 and 1{,}000.
    (re.compile(r"(?<=\d)(?:,|\{,\})(?=\d{3}(?!\d))"), ""),
    # 3 x 4
    (re.compile(r"(?<=\d)[ \t]*[xX][ \t]*(?=\d)"), "*"),
    # 20% of 50
    (re.compile(r"(?<=[\d)}])([ \t]*\\?%)[ \t]+of[ \t]+(?=\d)"), r"\1*"),
)
"""(pattern, replacement) by which a text comes to plain spelling, in this order."""
_TOKEN = re.compile(
    r"""[ \t]*(?:
    (?P<number>\d+(?:\.\d+)?|\.\d+)
  | (?P<relation>==|<=|>=|!=|=(?!>)|<|>|[≤≥≠≈]|\\(?:leq?|geq?|neq?|lt|gt|approx)(?![a-zA-Z]))
  | (?P<sign>\*\*|[-+*/^!%×·∙÷−–]|\\(?:times|cdot|div|%)(?![a-zA-Z]))
  | (?P<bracket>[()\[\]{}])
  | (?P<command>\\(?:[dtc]?frac|[dt]?binom|sqrt)(?![a-zA-Z]))
  | (?P<name>(?:[a-zA-Z]|\\(?:alpha|beta|gamma|theta|lambda|pi|omega|varphi|phi|mu))(?![a-zA-Z])
      (?:_(?:\w|\{\w{1,8}\}))?)
  | (?P<word>[^\W\d_]{2,}(?:['’][a-z]+)?)
  | (?P<stop>[\n.,;:?"“”、。，；：]|=>|\\(?:equiv|implies|Rightarrow|to|quad|qquad|therefore)(?![a-zA-Z]))
  | (?P<other>\\[a-zA-Z]+|[^ \t])
    )""",
    re.VERBOSE,
)
"""One token, with the blanks before it; its kind is the name of the group that matched."""
_PLAIN = {
    **dict.fromkeys(("×", "·", "∙", "\\times", "\\cdot"), "*"),
    **dict.fromkeys(("÷", "\\div"), "/"),
    **dict.fromkeys(("−", "–"), "-"),
    **dict.fromkeys(("**",), "^"),
    **dict.fromkeys(("==",), "="),
    **dict.fromkeys(("≤", "\\le", "\\leq"), "<="),
    **dict.fromkeys(("≥", "\\ge", "\\geq"), ">="),
    **dict.fromkeys(("≠", "\\ne", "\\neq"), "!="),
    **dict.fromkeys(("\\approx",), "≈"),
    "\\lt": "<",
    "\\gt": ">",
    "\\%": "%",
    **dict.fromkeys("[{", "("),
    **dict.fromkeys("]}", ")"),
}
"""The plain form of every other spelling."""


@dataclass(frozen=True)
class ArithmeticToken:
    """A piece of a text."""

    kind: str
    """number, relation, sign, bracket, command, name, word, stop (ends a formula) or other (makes one doubtful)."""
    text: str
    """In plain form: "*" for every multiplication sign, round brackets for all."""
    spaced: bool
    """Whether a blank stands before it."""


def tokens_of(text: str) -> list[ArithmeticToken]:
    """Every token of a text, in order."""
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    tokens: list[ArithmeticToken] = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind is not None:
            tokens.append(ArithmeticToken(kind, _PLAIN.get(match[kind], match[kind]), match[0][0] in " \t"))
    return tokens
