"""The names that letters and commands may be: functions, constants, Greek letters, accents, big operators."""

from __future__ import annotations

from rlkit.verify.math.nodes import INFINITY, Node

_TRIGONOMETRY = "sin cos tan cot sec csc sinh cosh tanh coth sech csch"
_OTHERS = "ln log lg exp sqrt cbrt abs max min gcd lcm arg sgn sign det floor ceil Re Im"
_GREEK = """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega
    Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega hbar ell"""
_ACCENTS = "bar overline hat vec tilde overrightarrow widehat underline"
_INVERSE = "asin acos atan acot asec acsc asinh acosh atanh"

_ENGLISH = """
    not but the for all any are was has its odd even true such that when then each only both none also must can may will
    one two six ten four five nine zero half"""

ENGLISH = frozenset(_ENGLISH.split())
"""English words that are as short as a product of letters."""
TRIGONOMETRY = frozenset(_TRIGONOMETRY.split())
FUNCTIONS = TRIGONOMETRY | frozenset(_INVERSE.split()) | frozenset(_OTHERS.split())
RENAMED = {f"arc{name}": f"a{name}" for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh")} | {
    "arsinh": "asinh",
    "arcosh": "acosh",
    "artanh": "atanh",
    "tg": "tan",
    "ctg": "cot",
    "arctg": "atan",
    "cosec": "csc",
    "ceiling": "ceil",
    "sign": "sgn",
}
"""Other spellings of functions."""
CONSTANTS = {"pi": Node("const", ("pi",)), "infty": INFINITY, "infinity": INFINITY, "oo": INFINITY, "inf": INFINITY}
LETTERS = frozenset(_GREEK.split())
"""Greek and other letters that LaTeX has a command for."""
ACCENTS = frozenset(_ACCENTS.split())
"""Marks over or under a letter, which make another name of it."""
BIG = ("sum", "prod", "int", "lim")
"""Operators that bind a variable."""
STARTERS = frozenset(
    (*FUNCTIONS, *RENAMED, *BIG, "frac", "sqrt", "binom", "lfloor", "lceil", "begin", "lbrace", "mathbb", "angle")
)
"""Commands that begin a factor, besides letters, accents and constants."""
_BASES = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "twelve": 12,
    "sixteen": 16,
}


def base_of(text: str) -> int:
    """The base that a subscript in small letters names: "8" -> 8, "two" -> 2; 0 where it names none."""
    return _BASES.get(text) or (int(text) if text.isdigit() and len(text) < 3 else 0)
