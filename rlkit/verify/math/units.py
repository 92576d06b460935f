r"""What stands behind a number: units, currencies, the degree sign and counted nouns, taken off before parsing.

"5 \text{ cm}^2" -> ("5", "cm^2");  "\$5" -> ("5", "$");  "90°" -> ("90", "°");  "12 apples" -> ("12", "apple")
"""

from __future__ import annotations

import re

from rlkit.verify.math.names import LETTERS

_FAMILIES = """
m: m meter metre meters metres 米
km: km kilometer kilometre kilometers kilometres kms 千米 公里
cm: cm centimeter centimetre centimeters centimetres cms 厘米
mm: mm millimeter millimetre millimeters millimetres 毫米
nm: nm nanometer nanometers
in: in inch inches
ft: ft foot feet
yd: yd yard yards
mi: mi mile miles
g: g gram grams gramme grammes 克
kg: kg kilogram kilograms kilo kilos kgs 千克 公斤
mg: mg milligram milligrams
lb: lb lbs pound pounds
oz: oz ounce ounces
t: ton tons tonne tonnes 吨
s: s sec secs second seconds 秒
min: min mins minute minutes 分钟
h: h hr hrs hour hours 小时
day: day days d 天
week: week weeks
month: month months
year: year years yr yrs 年 岁
ms: ms millisecond milliseconds
L: l liter litre liters litres 升
mL: ml milliliter millilitre milliliters millilitres 毫升
gal: gal gallon gallons
qt: quart quarts
pt: pint pints
cup: cup cups
N: newton newtons
J: j joule joules
kJ: kj kilojoule kilojoules
W: watt watts
kW: kw kilowatt kilowatts
V: volt volts
A: amp amps ampere amperes
ohm: ohm ohms Ω
Hz: hz hertz
kHz: khz
MHz: mhz
Pa: pa pascal pascals
kPa: kpa
K: kelvin kelvins
C: celsius
F: fahrenheit
mol: mol mole moles
rad: rad radian radians
°: degree degrees deg ° 度
$: dollar dollars usd bucks $ 美元
€: euro euros eur €
£: gbp £
₹: rupee rupees inr rs ₹
¥: yen yuan rmb jpy cny ¥ 元 人民币
cent: cent cents ¢
unit: unit units
acre: acre acres
hectare: hectare hectares
m^2: 平方米
cm^2: 平方厘米
km^2: 平方千米 平方公里
m^3: 立方米
cm^3: 立方厘米
people: person people persons 人 个 只 本 名 种
time: time times 次
"""
_COMPOUND = {"mph": "mi/h", "kph": "km/h", "kmh": "km/h", "kmph": "km/h", "mps": "m/s", "bpm": "1/min"}
_NAMES = {name: line.split(":")[0] for line in _FAMILIES.strip().splitlines() for name in line.split(":")[1].split()}
_EXACT = {
    name: name for name in ("N", "J", "W", "V", "A", "K", "C", "F", "L", "Hz", "Pa", "MB", "GB", "kWh", "eV", "T")
}
_CHANGING_TEXT = """
    dozen dozens loss deficit debt half halves third thirds quarter quarters fourth fourths fifth fifths sixth sixths
    seventh sevenths eighth eighths ninth ninths tenth tenths hundredth hundredths thousandth thousandths hundred
    thousand million billion trillion factorial score than less plus minus mod modulo not wrong remainder
    below zero negative over except but cannot never incorrect one two three four five six seven eight nine
    ten least most at maybe perhaps possibly either neither if unless
    sin cos tan log ln sqrt pi infinity squared cubed cis root"""
_MEASURES = ("of", "old", "tall", "long", "wide", "high", "deep", "thick", "away", "apart", "in", "each", "total")
_CHANGING = frozenset(_CHANGING_TEXT.split())
"""Words behind a number that change it: 5 dozen is not 5."""
_JOINERS = {"per": "/", "/": "/", "*": "·", "·": "·", "squared": "^2", "cubed": "^3", "of": " "}
_SUPERSCRIPT = r"(?: ?\^ ?(?:\{ ?-?\d ?\}|-?\d)|(?<=[a-z])[23](?!\d))?"
_TEXTUAL = re.compile(
    r"(?P<head>.*[^\\\s])?[ ]*\\(?:text|textbf|textit|textrm|mathrm|mbox|operatorname|mathsf|textnormal|hbox) ?"
    r"\{(?P<words>[^{}]*)\}(?P<power>" + _SUPERSCRIPT + r")[ .]*"
)
_BARE = re.compile(
    r"(?P<head>.*(?:[\d})\].°%!]|\\pi(?= [A-Za-z]{2}| m ?\^)))(?P<gap> *)"
    r"(?P<words>(?:[A-Za-zΩμ]+|(?<=[A-Za-z]) ?/ ?(?=[A-Za-z])|[一-鿿]+)(?: ?(?:/|\\cdot) ?[A-Za-zΩ]+| [A-Za-zΩ]+)*)"
    r"(?P<power>" + _SUPERSCRIPT + r")[ .]*"
)
_SIGN_BEHIND = re.compile(r"(?P<head>.*\S) ?(?P<sign>°|\\\$|[$€£¥¢])[ .]*")
_JOINED = re.compile(
    r"\\(?:text|mathrm|textrm|mbox) ?\{([^{}]*)\}(?:\^ ?\{? ?(-?\d) ?\}?)? ?(/|\\cdot)? ?"
    r"\\(?:text|mathrm|textrm|mbox) ?\{([^{}]*)\}"
)
_OHM = re.compile(r"(?<=[\d}]) ?\\Omega ?$")
_MICRO = re.compile(r"(?<=[\d}]) ?\\mu ?(?:\\(?:text|mathrm) ?\{ ?)?([A-Za-z]{1,2}) ?\}?$")
_CELSIUS = re.compile(
    r"(?P<head>.*\S) ?° ?(?:\\(?:text|mathrm|rm|textrm|mbox) ?\{ ?(?P<letter>[CF]) ?\}|(?P<bare>[CF]))[ .]*"
)
_SIGN_BEFORE = re.compile(
    r"(?P<minus>-? ?)(?P<sign>\\\$|US\$|[$€£¥₹]|(?:USD|EUR|GBP|Rs\.?) ?)(?P<head>[ ]*[-\d.(\\].*)"
)
_MAGNITUDES = {
    "hundred": 2,
    "thousand": 3,
    "million": 6,
    "billion": 9,
    "trillion": 12,
    "万": 4,
    "亿": 8,
    "百万": 6,
    "千": 3,
}
_MAGNITUDE = re.compile(
    r"(?P<head>.*?[\d}]) ?(?:\\(?:text|mathrm|mbox|textrm) ?\{ ?)?"
    r"(?P<word>hundred|thousand|million|billion|trillion|百万|万|亿|千) ?(?:(?P<more>[A-Za-z][A-Za-z ]*)?\})?",
    re.IGNORECASE,
)
_HALF_WORDS = re.compile(r"[A-Za-zΩμ°$€£¥¢]+|[一-鿿]+|/|·|\*|\^ ?\{? ?-?\d ?\}?")
_TRIGONOMETRY = re.compile(r"sin|cos|tan|cot|sec|csc")
_LONGEST_TAIL = 120


def known_unit(word: str) -> str | None:
    """The one spelling of a unit: "hours" -> "h"; None for other words."""
    return _EXACT.get(word) or _NAMES.get(word.lower())


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _canonical(words: str, power: str, *, any_noun: bool) -> str | None:
    r"""One spelling of a unit: "square meters" -> "m^2", "km / h" -> "km/h"; None where it is none."""
    if any(word.lower() in _CHANGING and word.lower() not in _JOINERS for word in re.findall("[A-Za-z]+", words)):
        return None
    counted = _counted(words) if not power else None
    if counted is not None:
        return counted
    spelled = _spelled(words, power, any_noun=any_noun)
    if spelled is None or not re.search(r"[/·^ ]", spelled):
        return spelled
    powers: dict[str, int] = {}
    sign = 1
    for piece in re.findall(r"/|[^/·^ ]+(?:\^-?\d+)?", spelled):
        if piece == "/":
            sign = -1
            continue
        name, _, size = piece.partition("^")
        powers[name] = powers.get(name, 0) + sign * int(size or 1)
    return " ".join(f"{name}^{size}" if size != 1 else name for name, size in sorted(powers.items()))


def _counted(words: str) -> str | None:
    """The unit or noun in one to five plain words: "years old" -> "year", "more apples" -> "apple"; None for others."""
    plain = words.split()
    if not 1 < len(plain) <= 5 or not all(re.fullmatch("[a-z]{2,}", word) for word in plain):
        return None
    if plain[0] in ("square", "sq", "cubic", "cu") or {"per", "squared", "cubed"} & set(plain):
        return None
    if plain[0] in _NAMES:
        return _NAMES[plain[0]] if plain[1] in _MEASURES else " ".join([_NAMES[plain[0]], *plain[1:]])
    return _NAMES.get(plain[-1]) or _singular(plain[-1])


def _spelled(words: str, power: str, *, any_noun: bool) -> str | None:
    out, pending = [], ""
    for compound, parts in _COMPOUND.items():
        words = re.sub(rf"\b{compound}\b", parts, words, flags=re.IGNORECASE)
    pieces = _HALF_WORDS.findall(words.replace(r"\cdot", "·"))
    for piece in pieces:
        low = piece.lower()
        if low in ("square", "sq"):
            pending = "^2"
        elif low in ("cubic", "cu"):
            pending = "^3"
        elif low in _JOINERS:
            out.append(_JOINERS[low])
        elif piece.startswith("^"):
            out.append("^" + re.sub(r"[^\d-]", "", piece))
        else:
            name = _EXACT.get(piece) or _NAMES.get(low)
            if name is None and (any_noun and len(low) > 2):
                name = _singular(low)
            if name is None:
                return None
            out.append(
                ("·" if out and out[-1] not in "/·" and not any_noun else " " if out and out[-1] != "/" else "")
                + name
                + pending
            )
            pending = ""
    if not out and pending:
        out.append("square" if pending == "^2" else "cubic")
    power = re.sub(r"[^\d-]", "", power)
    if not any(re.match(r"[^\^/· ]", piece) for piece in out):
        return None
    return "".join(out) + (f"^{power}" if power else "")


def _take_sign(text: str) -> tuple[str, str] | None:
    if "°" in text and _TRIGONOMETRY.search(text):
        return None
    if match := _SIGN_BEHIND.fullmatch(text):
        sign = match["sign"].replace("\\", "")
        return match["head"], _NAMES.get(sign, sign)
    return None


def _take_words(text: str) -> tuple[str, str, str] | None:
    """(head, unit, the letter that it may be as a variable or "")."""
    if len(text) > _LONGEST_TAIL * 8:
        return None
    if (match := _TEXTUAL.fullmatch(text)) and match["head"]:
        words = match["words"].strip()
        head = match["head"].rstrip()
        if (
            re.search(r"(?<!\^)(?<!\^-)\d|,|;|\bor\b|\band\b|[=<>]", words)
            or not words
            or not re.search(r"[\d})\]°!%A-Za-z]$", head)
        ):
            return None
        unit = _canonical(words, match["power"], any_noun=True)
        return (head, unit, "") if unit else None
    if match := _BARE.fullmatch(text):
        words = match["words"]
        noun = bool(match["gap"]) and re.fullmatch(r"[a-z]{3,}", words) is not None and words not in LETTERS
        unit = _canonical(words, match["power"], any_noun=noun)
        if unit is None:
            return None
        is_letter = len(re.findall("[A-Za-z]", words)) == 1
        if is_letter and not match["gap"] and words.isupper():
            return None
        surely_a_unit = match["gap"] and words in ("m", "s", "g", "h", "L", "N", "J", "W", "V")
        return match["head"], unit, words if is_letter and not surely_a_unit else ""
    return None


def split_unit(text: str) -> tuple[str, str, str]:
    """(text without its unit, the unit in one spelling or "", the letter that it may be as a variable or "").

    Args:
        text: A normalised answer.
    """
    unit = letter = ""
    text = re.sub(r"\b(sq|cu)\. ?", r"\1 ", text) if "sq." in text or "cu." in text else text
    text = re.sub("个(?=小时|月|星期)", "", text)
    for _ in range(3):
        text = _JOINED.sub(lambda m: rf"\text{{{m[1]}{'^' + m[2] if m[2] else ''} {m[3] or '·'} {m[4]}}}", text)
    text = _MICRO.sub(r"\\text{micro\1}", _OHM.sub(r"\\text{ohm}", text))
    if match := _CELSIUS.fullmatch(text):
        return match["head"].strip(), "°" + (match["letter"] or match["bare"]), ""
    if match := _SIGN_BEFORE.fullmatch(text):
        sign = match["sign"].strip().replace("\\", "").replace("US$", "$").lower().rstrip(".")
        text, unit = match["minus"].strip() + match["head"].strip(), _NAMES.get(sign, sign)
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
    if rest and not re.fullmatch(r"[A-Za-z ]+|\\(?:text|mathrm) ?\{[A-Za-z ]+\}|[$€£¥元人个]+", rest):
        return text, 0, ""
    tail = (match["more"] or "") + rest
    return match["head"], _MAGNITUDES[match["word"].lower()], tail
