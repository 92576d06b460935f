"""Names of units, currencies and counted things, and the words that stand with them or change a number."""

from __future__ import annotations

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
COMPOUND = {"mph": "mi/h", "kph": "km/h", "kmh": "km/h", "kmph": "km/h", "mps": "m/s", "bpm": "1/min"}
"""Units in one word that are a quotient of two."""
NAMES = {name: line.split(":")[0] for line in _FAMILIES.strip().splitlines() for name in line.split(":")[1].split()}
"""The one spelling of each name, in small letters."""
EXACT = {name: name for name in ("N", "J", "W", "V", "A", "K", "C", "F", "L", "Hz", "Pa", "MB", "GB", "kWh", "eV", "T")}
"""Units whose capital letter distinguishes them from others: N is a newton, n a variable."""
_CHANGING_TEXT = """
    dozen dozens loss deficit debt half halves third thirds quarter quarters fourth fourths fifth fifths sixth sixths
    seventh sevenths eighth eighths ninth ninths tenth tenths hundredth hundredths thousandth thousandths hundred
    thousand million billion trillion factorial score than less plus minus mod modulo not wrong remainder
    below zero negative over except but cannot never incorrect one two three four five six seven eight nine
    ten least most at maybe perhaps possibly either neither if unless
    sin cos tan log ln sqrt pi infinity squared cubed cis root"""
CHANGING = frozenset(_CHANGING_TEXT.split())
"""Words behind a number that change it: 5 dozen is not 5."""
MEASURES = ("of", "old", "tall", "long", "wide", "high", "deep", "thick", "away", "apart", "in", "each", "total")
"""Words between a unit and the thing that it measures: "5 cm of rope", "3 years old"."""
JOINERS = {"per": "/", "/": "/", "*": "·", "·": "·", "squared": "^2", "cubed": "^3", "of": " "}
"""Words and signs that join the units of a compound one."""
MAGNITUDES = {
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
"""Powers of ten that words stand for."""


def known_unit(word: str) -> str | None:
    """The one spelling of a unit: "hours" -> "h"; None for other words."""
    return EXACT.get(word) or NAMES.get(word.lower())
