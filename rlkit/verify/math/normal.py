r"""Brings a text to one spelling: Unicode and full-width signs, LaTeX that changes only the look, thousands.

"１，０００" -> "1000";  "x²" -> "x^{2}";  "\dfrac{1}{2}\ " -> "\frac{1}{2}";  "2½" -> "2\frac{1}{2}"
"""

from __future__ import annotations

import re
import unicodedata

from rlkit.verify.math.number_sets import plain_sets
from rlkit.verify.math.prose import without_prose

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱˣ", "0123456789+-()nix")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋ₙₓ", "0123456789+-nx")
_SUPER_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱˣ]+")
_SUB_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋ₙₓ]+")
_SIGNS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "－": "-", "×": r"\times ", "✕": r"\times ",
    "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "•": r"\cdot ", "÷": "/", "∕": "/", "⁄": "/", "√": r"\sqrt ",
    "∛": r"\sqrt[3]", "∜": r"\sqrt[4]", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≦": r"\le ",
    "≧": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≡": r"\equiv ", "∪": r"\cup ",
    "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "∖": r"\setminus ", "±": r"\pm ", "∓": r"\mp ",
    "º": "°", "˚": "°", "′": "'", "″": "''", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", 
    "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ", "∧": r"\land ",
    "∨": r"\lor ", "¬": " not ",
    "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "⟨": "(", "⟩": ")", "〈": "(", "〉": ")",
    "、": ",", "。": ".", "「": "", "」": "", "【": "[", "】": "]", "『": "", "』": "", "“": "", "”": "",
    "’": "'", "‘": "'", "\u200b": "", "\ufeff": "", "\u2061": "", "\u2062": " ", "∶": ":", "∣": "|", "ⅇ": "e",
    "ⅈ": "i", "∠": r"\angle ",
}  # fmt: skip
_GREEK_LETTERS = "αβγδεζηθικλμνξρστυφχψωΓΔΘΛΞΠΣΦΨΩ"
_GREEK_NAMES = """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega
    Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"""
_GREEK = {letter: rf"\{name} " for letter, name in zip(_GREEK_LETTERS, _GREEK_NAMES.split(), strict=True)}
_WORDS = (
    ("或者", " or "),
    ("或", " or "),
    ("以及", " and "),
    ("并且", " and "),
    ("且", " and "),
    ("和", " and "),
    ("与", " and "),
)
_UNICODE = str.maketrans(_SIGNS | _GREEK)
_ALIASES = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "nthroot": "sqrt",
    "leq": "le", "leqslant": "le", "leqq": "le", "geq": "ge", "geqslant": "ge", "geqq": "ge", "neq": "ne", "lt": "<",
    "gt": ">", "cdotp": "cdot", "ast": "cdot", "div": "/", "bmod": "mod", "vert": "|", "mid": "|", "lvert": "|",
    "rvert": "|", "lbrace": r"\{", "rbrace": r"\}", "langle": "(", "rangle": ")", "lbrack": "[", "rbrack": "]",
    "lparen": "(", "rparen": ")", "varnothing": "emptyset", "infin": "infty", "dots": "ldots", "cdots": "ldots",
    "dotsc": "ldots", "dotsb": "ldots", "dotsm": "ldots", "dotso": "ldots", "hdots": "ldots",
    "wedge": "land", "vee": "lor", "colon": ":", "degree": "°", "textdegree": "°", "R": "mathbb{R}",
    "reals": "mathbb{R}", "backslash": "setminus", "varphi": "phi", "varepsilon": "epsilon", "bigcup": "cup",
    "bigcap": "cap", "measuredangle": "angle", "textdollar": "$", "euro": "€", "pounds": "£", "yen": "¥",
    "percent": "%",
}  # fmt: skip
"""One name for LaTeX commands that mean the same, or the sign that a command stands for."""
_SYMBOLS = frozenset("<>|()[]:°/€£¥%")
"""Those of `_ALIASES` that are written without a backslash."""
_LOOKS = """
    displaystyle textstyle scriptstyle limits nolimits left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl
    biggr Biggl Biggr qquad quad enspace thinspace enskip hfill rm bf it thickspace medspace negthinspace tiny small
    footnotesize normalsize large Large LARGE huge Huge boldmath centering mathopen mathclose mathrel mathbin mathord"""
_DROPPED = frozenset(_LOOKS.split())
"""Commands that change only how a formula looks."""
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_MAX_ROUNDS = 8
"""How many layers of wrappers are taken off: $\\boxed{**5**}$ has three."""
_MAX_NESTED_TEXT = 3
r"""How many layers of \text{\mathbf{...}} are taken off."""
_OUTER_SPACES = re.compile(r"^(?:\\[,;:! ]\s*)+|(?:(?<!\\)\\[,;:!]\s*)+$")
r"""Spacing commands at either end."""
_EMPTY_DELIMITER = re.compile(r"\\(?:left|right) ?\.")
r"""The invisible bracket of \left. x \right|."""
_SPACING = re.compile(r"(?<!\\)\\[,;:> ]|~|\\hspace\*? ?\{[^{}]*\}|\\[hv]?phantom ?\{[^{}]*\}")
r"""Spacing commands, ~ and \phantom{...}: all are a blank."""
_TEXT_SPACES = re.compile(r"[\s\u00a0\u2000-\u200a\u202f\u205f\u3000]+")
"""Runs of blanks of any kind that Unicode has."""
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:\{,\}|,?\\[!,;] ?)\s*\d{3})+(?!\d)")
r"""1{,}234, 1\,234 and 1,\!234, as LaTeX parts thousands."""
_SPACED_THOUSANDS = re.compile(r"(?<![\d.,/^_] )(?<![\d.,/^_])\d{1,3}(?:[ ']\d{3})+(?![\d/])")
"""1 234 and 1'234; no thousands where a digit or a sign of a fraction or power stands before them."""
_TEXT = (
    r"\\(?:text|textbf|textit|textrm|textsf|texttt|mathrm|mbox|hbox|operatorname\*?|mathsf|mathit|mathbf|boldsymbol|bm"
    r"|textnormal|emph)"
)
"""A command whose braces hold text, or symbols in another font."""
_NO_LETTERS = re.compile(_TEXT + r" ?\{([^{}A-Za-z一-鿿]*)\}")
r"""\text{12}, \mathbf{=}: no words in it."""
_MATH_IN_TEXT = re.compile(_TEXT + r" ?\{ ?(?:\$([^${}]*(?:\{[^{}]*\}[^${}]*)*)\$|(\d[^{}]*)) ?\}")
r"""\text{$x^2$} and \text{12 cm}: mathematics in it."""
_BOLD_FORMULA = re.compile(
    r"\\(?:mathbf|boldsymbol|bm|mathit|underline|mathsf) ?\{((?:[^{}]|\{[^{}]*\})*[\\\d=+](?:[^{}]|\{[^{}]*\})*)\}"
)
r"""\mathbf{x = 5}: a whole formula in another font."""
_POWER_IN_TEXT = re.compile(r"(?<=[A-Za-z])\^\{ ?(-?\d) ?\}")
r"""The power of \text{cm^{2}}, whose braces would hide the end of the text."""
_COLOR = re.compile(r"\\(?:text)?color ?(?:\[[^\]]*\])? ?\{[^{}]*\}")
_REWRITES = (
    # 50 percent
    (re.compile(_TEXT + r" ?\{ ?(?:percent|per cent|\\?%) ?\}|(?<=[\d}]) ?per ?cent\b"), "%"),
    # 3 x 10^5
    (re.compile(r"(?<=\d) ?[xX] ?(?=10 ?(?:\^|\*\*))"), r"\\times "),
    # The ratio 3 to 4.
    (re.compile(r"(?<=\d) (?:" + _TEXT + r" ?\{ ?to ?\}|to) ?(?=\d)"), ":"),
    (re.compile(r"(?<=\d)" + _TEXT + r" ?\{ ?to ?\} ?(?=\d)"), ":"),
    # 10C3, {}_{10}C_3 and ^{10}C_3
    (re.compile(r"(?<![\w.^}])(?:\{\})?[_^]?\{?(\d{1,4})\}? ?C ?_?\{?(\d{1,4})\}?(?![\w.])"), r"\\binom{\1}{\2}"),
    # A dot over a digit that repeats.
    (re.compile(r"(\d)\u0307"), r"\\dot{\1}"),
    # frac{1}{2} without its backslash
    (re.compile(r"(?<![\\A-Za-z])([dt]?frac)(?= ?\{)"), r"\\\1"),
    # A line break at the end, and the space that one asks for: \\[2pt].
    (re.compile(r"(?:\\\\|\\newline)\s*$"), ""),
    (re.compile(r"\\\\ ?\[[^\]]*\]"), r"\\\\"),
    # R in bold is the reals.
    (re.compile(r"\\math(?:bf|rm) ?\{ ?R ?\}"), r"\\mathbb{R}"),
    # Three dots, and no more.
    (re.compile(r"(?<!\.)\.\.\."), r"\\ldots "),
    # A formula within the answer.
    (re.compile(r"\$([^$]*)\$"), r" \1 "),
    # The large brace before a system.
    (re.compile(r"\\\{ ?(?=\\begin ?\{ ?(?:array|aligned|cases))"), ""),
    # "the ordered pair (1, 2)"
    (re.compile(r"^(?:the )?(?:ordered )?(?:point|vector|pair|interval|equation|set)s? (?=[^a-z])", re.IGNORECASE), ""),
)
"""(pattern, replacement) of further spellings, in this order."""
_NAMED_SIDE_BY_SIDE = re.compile(r"(=[^=]*?)\\q?quad([^=]*=)")
r"""x = 1 \quad y = 2: the space parts two equations."""
_BOXED = re.compile(r"\\(?:boxed|fbox) ?\{(.*)\}", re.DOTALL)
r"""A box round the whole answer, where a bare answer comes with one."""
_END_SIGN = re.compile(r"(?<![.\\])[.,;:]$|(?<!\\)\\$")
"""A full stop, comma or lone backslash at the end; an ellipsis stays."""
_DEGREES = re.compile(r"\^ ?(?:\\circ(?![a-z])|\{ ?\\circ ?\}|\{ ?° ?\}|°)|\\circ(?![a-z])")
r"""Every spelling of the degree sign: ^\circ, ^{\circ}, ^°."""
_SET_SIGNS = re.compile(r"[,|]|:")
"""What a set in plain braces has in it: items, or the bar of a set builder."""
_OVERLINED = re.compile("(?:\\d\u0305)+")
"""Digits with Unicode's combining line over them."""
_WRAPPERS = (
    ("$$", "$$"),
    ("$", "$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
    ("**", "**"),
    ("*", "*"),
    ("`", "`"),
    ("__", "__"),
)
"""Marks that may stand round a whole answer: those of formulas, of LaTeX and of Markdown."""


def _vulgar(text: str) -> str:
    r"""½ as \frac{1}{2}, and whatever else Unicode has as a fraction in one character."""
    out = []
    for char in text:
        parts = unicodedata.decomposition(char)
        if parts.startswith("<fraction>"):
            numbers = "".join(chr(int(code, 16)) for code in parts.split()[1:]).split("⁄")
            out.append(rf"\frac{{{numbers[0]}}}{{{numbers[1] or '1'}}}")
        else:
            out.append(char)
    return "".join(out)


def _plain_characters(text: str) -> str:
    """The text with LaTeX or ASCII in place of Unicode's signs, letters, powers and indices."""
    text = _SUPER_RUN.sub(lambda m: "^{" + m[0].translate(_SUPERSCRIPTS) + "}", text)
    text = _SUB_RUN.sub(lambda m: "_{" + m[0].translate(_SUBSCRIPTS) + "}", text)
    text = _OVERLINED.sub(lambda m: r"\overline{" + m[0].replace("\u0305", "") + "}", text)
    text = unicodedata.normalize("NFKC", _vulgar(text).translate(_UNICODE)).translate(_UNICODE)
    for word, plain in _WORDS:
        text = text.replace(word, plain)
    return text


def _command(match: re.Match[str]) -> str:
    """A LaTeX command in its one spelling."""
    name = match[1]
    if name in _DROPPED:
        return " "
    name = _ALIASES.get(name, name)
    return name if name in _SYMBOLS or name[0] == "\\" else "\\" + name


def strip_wrappers(text: str) -> str:
    r"""A text without the marks round it: $...$, \(...\), \boxed{...}, **...**, a full stop."""
    for _ in range(_MAX_ROUNDS):
        before = text
        text = text.strip()
        for start, end in _WRAPPERS:
            inner = text[len(start) : -len(end)]
            if (
                text.startswith(start)
                and text.endswith(end)
                and len(text) > len(start + end)
                and start not in inner.replace("\\$", "")
            ):
                text = inner
                break
        if (match := _BOXED.fullmatch(text)) and _balanced(match[1]):
            text = match[1]
        text = _END_SIGN.sub("", text)
        text = without_prose(text)
        if text == before:
            break
    return text


def _balanced(text: str) -> bool:
    """Whether no brace closes before it opens."""
    depth = 0
    for char in text.replace(r"\{", "").replace(r"\}", ""):
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return depth == 0


def _plain_commands(text: str) -> str:
    r"""The text without commands that change only its look: colours, sizes, \text{} round a number or a formula."""
    text = _COLOR.sub("", text) if "color" in text else text
    if "\\begin" not in text:
        # A backslash doubled by JSON or by a program; in an environment it ends a row.
        text = re.sub(r"\\\\(?=[A-Za-z])", r"\\", text)
    text = _POWER_IN_TEXT.sub(r"^\1", text) if re.search(_TEXT, text) else text
    for pattern in (_NO_LETTERS, _MATH_IN_TEXT, _BOLD_FORMULA):
        for _ in range(_MAX_NESTED_TEXT):
            text, count = pattern.subn(lambda m: next((g for g in m.groups() if g is not None), ""), text)
            if not count:
                break
    return _NAMED_SIDE_BY_SIDE.sub(r"\1, \2", text)


def _plain_brackets(text: str) -> str:
    r"""Sets and vectors as a keyboard has them: {x | x > 2}, {}, <3, -4>."""
    inner = text[1:-1]
    if text[:1] == "{" and text[-1:] == "}" and _balanced(inner) and (not inner.strip() or _SET_SIGNS.search(inner)):
        return rf"\{{{inner}\}}"
    if text[:1] == "<" and text[-1:] == ">" and "," in inner and not re.search("[<>]", inner):
        return f"({inner})"
    return text.replace("{}", " ") if "\\{" not in text else text


def _without_surplus(text: str) -> str:
    """Without a closing brace too many; one too few is an answer that was not finished."""
    plain = text.replace("\\{", "").replace("\\}", "")
    surplus = plain.count("}") - plain.count("{")
    return text[:-1] if surplus == 1 and text.endswith("}") and text[-2:-1] != "\\" else text


def normalize(text: str) -> str:
    """The text in one spelling; reading it twice changes nothing more."""
    if not text.isascii():
        text = _plain_characters(text)
    text = strip_wrappers(_TEXT_SPACES.sub(" ", text).replace("~", " "))
    if "\\" in text:
        text = _plain_commands(text)
        text = _OUTER_SPACES.sub("", _EMPTY_DELIMITER.sub(" ", text))
        text = _THOUSANDS.sub(lambda m: re.sub(r"\D", "", m[0]), text)
        text = _SPACING.sub(" ", text).replace(r"\!", "").replace(r"\%", "%")
        text = _COMMAND.sub(_command, text)
        text = _DEGREES.sub("°", text)
    elif "{,}" in text:
        text = text.replace("{,}", "")
    text = _plain_brackets(text)
    text = _SPACED_THOUSANDS.sub(lambda m: re.sub("[ ']", "", m[0]), text)
    for pattern, plain in _REWRITES:
        text = pattern.sub(plain, text)
    text = (
        text.replace("<=", r"\le ")
        .replace(">=", r"\ge ")
        .replace(" != ", r" \ne ")
        .replace("+/-", r"\pm ")
        .replace("+-", r"\pm ")
    )
    return _without_surplus(strip_wrappers(plain_sets(" ".join(text.split()))))
