r"""Takes units, currencies, the degree sign and counted nouns off a number before it is parsed.

"5 \text{ cm}^2" -> ("5", "cm^2");  "\$5" -> ("5", "$");  "90°" -> ("90", "°");  "12 apples" -> ("12", "apple")
"""

from __future__ import annotations

import re

from rlkit.verify.math.names import LETTERS
from rlkit.verify.math.unit_names import CHANGING, COMPOUND, EXACT, JOINERS, MAGNITUDES, MEASURES, NAMES

_SUPERSCRIPT = r"(?: ?\^ ?(?:\{ ?-?\d ?\}|-?\d)|(?<=[a-z])[23](?!\d))?"
"""The power of a unit: m^2, m^{-1}, m2."""
_TEXTUAL = re.compile(
    r"(?P<head>.*[^\\\s])?[ ]*\\(?:text|textbf|textit|textrm|mathrm|mbox|operatorname|mathsf|textnormal|hbox) ?"
    r"\{(?P<words>[^{}]*)\}(?P<power>" + _SUPERSCRIPT + r")[ .]*"
)
r"""A unit in a command for text: 5 \text{ cm}^2."""
_BARE = re.compile(
    r"(?P<head>.*(?:[\d})\].°%!]|\\pi(?= [A-Za-z]{2}| m ?\^)))(?P<gap> *)"
    r"(?P<words>(?:[A-Za-zΩμ]+|(?<=[A-Za-z]) ?/ ?(?=[A-Za-z])|[一-鿿]+)(?: ?(?:/|\\cdot) ?[A-Za-zΩ]+| [A-Za-zΩ]+)*)"
    r"(?P<power>" + _SUPERSCRIPT + r")[ .]*"
)
r"""A unit in plain letters: 5 cm, 5 km/h, \pi m^2."""
_SIGN_BEHIND = re.compile(r"(?P<head>.*\S) ?(?P<sign>°|\\\$|[$€£¥¢])[ .]*")
"""A degree or currency sign behind a number."""
_JOINED = re.compile(
    r"\\(?:text|mathrm|textrm|mbox) ?\{([^{}]*)\}(?:\^ ?\{? ?(-?\d) ?\}?)? ?(/|\\cdot)? ?"
    r"\\(?:text|mathrm|textrm|mbox) ?\{([^{}]*)\}"
)
r"""Two units in commands of their own: \text{km} / \text{h}."""
_OHM = re.compile(r"(?<=[\d}]) ?\\Omega ?$")
r"""The symbol of the ohm behind a number: 5 \Omega."""
_MICRO = re.compile(r"(?<=[\d}]) ?\\mu ?(?:\\(?:text|mathrm) ?\{ ?)?([A-Za-z]{1,2}) ?\}?$")
r"""A prefix that is a Greek letter: 5 \mu\text{m}."""
_CELSIUS = re.compile(
    r"(?P<head>.*\S) ?° ?(?:\\(?:text|mathrm|rm|textrm|mbox) ?\{ ?(?P<letter>[CF]) ?\}|(?P<bare>[CF]))[ .]*"
)
"""Degrees of a temperature scale: 25°C."""
_SIGN_BEFORE = re.compile(
    r"(?P<minus>-? ?)(?P<sign>\\\$|US\$|[$€£¥₹]|(?:USD|EUR|GBP|Rs\.?) ?)(?P<head>[ ]*[-\d.(\\].*)"
)
"""A currency before a number: $5, -US$5, Rs. 5."""
_MAGNITUDE = re.compile(
    r"(?P<head>.*?[\d}]) ?(?:\\(?:text|mathrm|mbox|textrm) ?\{ ?)?"
    r"(?P<word>hundred|thousand|million|billion|trillion|百万|万|亿|千) ?(?:(?P<more>[A-Za-z][A-Za-z ]*)?\})?",
    re.IGNORECASE,
)
"""A number with a word for a power of ten behind it: 2 million."""
_HALF_WORDS = re.compile(r"[A-Za-zΩμ°$€£¥¢]+|[一-鿿]+|/|·|\*|\^ ?\{? ?-?\d ?\}?")
"""The pieces of a compound unit: words, signs between them, powers."""
_TRIGONOMETRY = re.compile(r"sin|cos|tan|cot|sec|csc")
"""Beside these a degree sign belongs to an angle, and is no unit."""
_LONGEST_TAIL = 960
"""Characters of a text that is searched for a unit in words; the search takes longer than its length."""

_MAX_COUNTED_WORDS = 5
"""Words that may name what is counted: "12 more red apples"."""
_MAX_JOINED = 3
r"""How many commands for text are joined to one unit: \text{kg} \text{m} / \text{s}."""
_SQUARES, _CUBES = ("square", "sq"), ("cubic", "cu")
_PARTS = re.compile(r"/|[^/·^ ]+(?:\^-?\d+)?")
"""The units of a compound one, each with its power, and the signs of division between them."""
_PLAIN_WORD = re.compile("[a-z]{2,}")
_NOUN = re.compile("[a-z]{3,}")
"""A word that may be a counted noun; shorter ones are letters of a product."""
_NAMES_A_UNIT = re.compile(r"[^\^/· ]")
"""How one part of a unit must begin: signs and powers alone are no unit."""
_COMPOUND_SIGN = re.compile(r"[/·^ ]")
"""A unit with one of these has several parts, which are put in order."""
_NOT_A_UNIT = re.compile(r"(?<!\^)(?<!\^-)\d|,|;|\bor\b|\band\b|[=<>]")
"""A text with a number or a second answer in it is no unit; the digit of a power may be one."""
_NUMBER_END = re.compile(r"[\d})\]°!%A-Za-z]$")
"""What a number or a formula may end with before its unit."""
_SPACED_LETTERS = ("m", "s", "g", "h", "L", "N", "J", "W", "V")
"""Letters that with a blank before them are units and no variables: "5 m" against "5m"."""
_MAGNITUDE_TAIL = re.compile(r"[A-Za-z ]+|\\(?:text|mathrm) ?\{[A-Za-z ]+\}|[$€£¥元人个]+")
"""What may stand behind "million": a unit in words, a currency."""


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _canonical(words: str, power: str, *, any_noun: bool) -> str | None:
    r"""One spelling of a unit: "square meters" -> "m^2", "km / h" -> "km/h"; None where it is none."""
    if any(word.lower() in CHANGING and word.lower() not in JOINERS for word in re.findall("[A-Za-z]+", words)):
        return None
    counted = _counted(words) if not power else None
    if counted is not None:
        return counted
    spelled = _spelled(words, power, any_noun=any_noun)
    if spelled is None or not _COMPOUND_SIGN.search(spelled):
        return spelled
    powers: dict[str, int] = {}
    sign = 1
    for piece in _PARTS.findall(spelled):
        if piece == "/":
            sign = -1
            continue
        name, _, size = piece.partition("^")
        powers[name] = powers.get(name, 0) + sign * int(size or 1)
    return " ".join(f"{name}^{size}" if size != 1 else name for name, size in sorted(powers.items()))


def _counted(words: str) -> str | None:
    """The unit or noun in one to five plain words: "years old" -> "year", "more apples" -> "apple"; None for others."""
    plain = words.split()
    if not 1 < len(plain) <= _MAX_COUNTED_WORDS or not all(_PLAIN_WORD.fullmatch(word) for word in plain):
        return None
    if plain[0] in _SQUARES + _CUBES or {"per", "squared", "cubed"} & set(plain):
        return None
    if plain[0] in NAMES:
        return NAMES[plain[0]] if plain[1] in MEASURES else " ".join([NAMES[plain[0]], *plain[1:]])
    return NAMES.get(plain[-1]) or _singular(plain[-1])


def _spelled(words: str, power: str, *, any_noun: bool) -> str | None:
    """The unit's parts in their one spelling, in the order in which they are written; None where one is unknown."""
    out: list[str] = []
    pending = ""
    for compound, parts in COMPOUND.items():
        words = re.sub(rf"\b{compound}\b", parts, words, flags=re.IGNORECASE)
    pieces = _HALF_WORDS.findall(words.replace(r"\cdot", "·"))
    for piece in pieces:
        low = piece.lower()
        if low in _SQUARES:
            pending = "^2"
        elif low in _CUBES:
            pending = "^3"
        elif low in JOINERS:
            out.append(JOINERS[low])
        elif piece.startswith("^"):
            out.append("^" + re.sub(r"[^\d-]", "", piece))
        else:
            name = EXACT.get(piece) or NAMES.get(low)
            if name is None and (any_noun and len(low) > 2):
                name = _singular(low)
            if name is None:
                return None
            out.append(_separator(out, any_noun) + name + pending)
            pending = ""
    if not out and pending:
        out.append("square" if pending == "^2" else "cubic")
    power = re.sub(r"[^\d-]", "", power)
    if not any(_NAMES_A_UNIT.match(piece) for piece in out):
        return None
    return "".join(out) + (f"^{power}" if power else "")


def _separator(before: list[str], any_noun: bool) -> str:
    """What goes before the next part of a unit: "·" in a product of units, a blank between words."""
    if before and before[-1] not in ("/", "·") and not any_noun:
        return "·"
    return " " if before and before[-1] != "/" else ""


def _take_sign(text: str) -> tuple[str, str] | None:
    """(head, unit) of a degree or currency sign behind a number; None where there is none."""
    if "°" in text and _TRIGONOMETRY.search(text):
        return None
    if match := _SIGN_BEHIND.fullmatch(text):
        sign = match["sign"].replace("\\", "")
        return match["head"], NAMES.get(sign, sign)
    return None


def _take_words(text: str) -> tuple[str, str, str] | None:
    """(head, unit, the letter that it may be as a variable or "")."""
    if len(text) > _LONGEST_TAIL:
        return None
    if (match := _TEXTUAL.fullmatch(text)) and match["head"]:
        words = match["words"].strip()
        head = match["head"].rstrip()
        if not words or _NOT_A_UNIT.search(words) or not _NUMBER_END.search(head):
            return None
        unit = _canonical(words, match["power"], any_noun=True)
        return (head, unit, "") if unit else None
    if match := _BARE.fullmatch(text):
        words = match["words"]
        noun = bool(match["gap"]) and _NOUN.fullmatch(words) is not None and words not in LETTERS
        unit = _canonical(words, match["power"], any_noun=noun)
        if unit is None:
            return None
        is_letter = len(re.findall("[A-Za-z]", words)) == 1
        if is_letter and not match["gap"] and words.isupper():
            # 5C is a product with C.
            return None
        surely_a_unit = match["gap"] and words in _SPACED_LETTERS
        return match["head"], unit, words if is_letter and not surely_a_unit else ""
    return None


def split_unit(text: str) -> tuple[str, str, str]:
    """(text without its unit, the unit in one spelling or "", the letter that it may be as a variable or "").

    Args:
        text: A normalised answer.
    """
    unit = letter = ""
    text = re.sub(r"\b(sq|cu)\. ?", r"\1 ", text) if "sq." in text or "cu." in text else text
    # The measure word between a number and hours, months or weeks.
    text = re.sub("个(?=小时|月|星期)", "", text)
    for _ in range(_MAX_JOINED):
        text = _JOINED.sub(lambda m: rf"\text{{{m[1]}{'^' + m[2] if m[2] else ''} {m[3] or '·'} {m[4]}}}", text)
    text = _MICRO.sub(r"\\text{micro\1}", _OHM.sub(r"\\text{ohm}", text))
    if match := _CELSIUS.fullmatch(text):
        return match["head"].strip(), "°" + (match["letter"] or match["bare"]), ""
    if match := _SIGN_BEFORE.fullmatch(text):
        sign = match["sign"].strip().replace("\\", "").replace("US$", "$").lower().rstrip(".")
        text, unit = match["minus"].strip() + match["head"].strip(), NAMES.get(sign, sign)
    found = _take_sign(text)
    if found is not None:
        text, behind = found
        unit = unit or behind
    elif (words := _take_words(text)) is not None:
        text, behind, letter = words
        unit = f"{unit}{behind}" if behind.startswith("/") else unit or behind
        again = _take_sign(text)
        if again is not None:
            text, unit = again[0], again[1] + unit
    return text.strip(), unit, letter


def split_magnitude(text: str) -> tuple[str, int, str]:
    """(text without "million", power of ten, what follows it): "2 million dollars" -> ("2", 6, "dollars")."""
    match = _MAGNITUDE.match(text)
    if match is None:
        return text, 0, ""
    rest = text[match.end() :].strip()
    if rest and not _MAGNITUDE_TAIL.fullmatch(rest):
        return text, 0, ""
    tail = (match["more"] or "") + rest
    return match["head"], MAGNITUDES[match["word"].lower()], tail
