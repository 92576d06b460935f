"""What holds for every answer: rewriting keeps a verdict, perturbing does not; order, workers, cache never count."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from itertools import product

import pytest
import sympy
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sympy import Expr, Integer, Rational, cos, latex, pi, sin, sqrt, tan

from rlkit.verify.math.math_judge import MathJudge
from tests.verify.test_math_table import ALL

X, Y = sympy.symbols("x y")
FEW = settings(max_examples=60)


@pytest.fixture(scope="module")
def judge():
    judge = MathJudge()
    yield judge
    judge.close()


def polynomials(*symbols: sympy.Symbol) -> st.SearchStrategy[Expr]:
    """Factored polynomials of degree at most 4 with small coefficients; never a constant."""
    small = st.integers(-9, 9)
    term = st.builds(lambda a, s, b: a * s + b, small.filter(bool), st.sampled_from(symbols), small)
    factor = st.one_of(term, st.builds(lambda t, s: t + s**2, term, st.sampled_from(symbols)))
    factors = st.lists(factor, min_size=1, max_size=2)
    product_of = st.builds(lambda parts, c: sympy.Mul(c, *parts), factors, small.filter(bool))
    return product_of.filter(lambda e: bool(e.free_symbols))


def fractions_of_polynomials() -> st.SearchStrategy[Expr]:
    """a/b + c with polynomials in x."""
    return st.builds(lambda a, b, c: a / b + c, polynomials(X), polynomials(X), st.integers(-5, 5))


SURDS = st.builds(
    lambda a, b, c, d: (a + b * sqrt(c)) / d,
    st.integers(-9, 9), st.integers(-9, 9).filter(bool), st.sampled_from([2, 3, 5, 7, 12, 18]), st.integers(1, 9),
)  # fmt: skip


def plain(expression: Expr) -> str:
    """A keyboard's spelling: x^2 + 3*x."""
    return str(expression).replace("**", "^")


def keyboard_star(expression: Expr) -> str:
    return str(expression)


def dressed(expression: Expr) -> str:
    r"""The spelling of a tired model: \dfrac, \left, dollars and a full stop."""
    return f"${latex(expression)}.$".replace(r"\frac", r"\dfrac").replace(r" ", r"\, ")


def correct(judge: MathJudge, gold: str, answer: str) -> None:
    found = judge.judge(gold, answer)
    assert found.verdict == "correct", (gold, answer, found.detail)


def wrong(judge: MathJudge, gold: str, answer: str) -> None:
    found = judge.judge(gold, answer)
    assert found.verdict == "wrong", (gold, answer, found.detail)


@FEW
@given(polynomials(X, Y), st.sampled_from([sympy.expand, sympy.factor, sympy.collect]), st.booleans())
def test_a_polynomial_equals_its_rewritings(judge, expression, rewrite, swap) -> None:
    other = rewrite(expression, X) if rewrite is sympy.collect else rewrite(expression)
    gold, answer = (other, expression) if swap else (expression, other)
    correct(judge, latex(gold), latex(answer))


@FEW
@given(fractions_of_polynomials(), st.sampled_from([sympy.together, sympy.apart, sympy.cancel, sympy.expand]))
def test_a_fraction_of_polynomials_equals_its_rewritings(judge, expression, rewrite) -> None:
    correct(judge, latex(expression), latex(rewrite(expression)))


@FEW
@given(
    st.one_of(polynomials(X, Y), fractions_of_polynomials(), SURDS), st.sampled_from([plain, keyboard_star, dressed])
)
def test_notation_does_not_count(judge, expression, spell) -> None:
    correct(judge, latex(expression), spell(expression))


@FEW
@given(polynomials(X, Y), st.sampled_from(["+1", "-1", "*2", "negated", "shifted", "renamed"]))
def test_an_expression_differs_from_its_perturbations(judge, expression, how) -> None:
    changed = {
        "+1": expression + 1,
        "-1": expression - 1,
        "*2": 2 * expression,
        "negated": -expression,
        "shifted": expression.subs({X: X + 1, Y: Y + 1}, simultaneous=True),
        "renamed": expression.subs({X: sympy.Symbol("z"), Y: sympy.Symbol("w")}),
    }[how]
    # (x - y)^2 shifted in both letters is itself.
    assume(sympy.expand(changed - expression) != 0)
    wrong(judge, latex(expression), latex(sympy.expand(changed)))


@FEW
@given(SURDS, st.sampled_from([1, -1, Rational(1, 10**6), sqrt(2)]))
def test_surds_are_compared_exactly(judge, surd, change) -> None:
    correct(judge, latex(surd), latex(sympy.radsimp(1 / sympy.radsimp(1 / surd))))
    assume(sympy.expand(change) != 0)
    wrong(judge, latex(surd), latex(surd + change))


@FEW
@given(st.integers(2, 4), st.sampled_from([sin, cos]), st.integers(-3, 3), st.integers(1, 5))
def test_trigonometric_identities_hold(judge, n, function, shift, factor) -> None:
    wave = factor * function(n * X) + shift
    correct(judge, latex(wave), latex(sympy.expand_trig(wave)))
    wrong(judge, latex(wave), latex(sympy.expand_trig(wave) + 1))
    wrong(judge, latex(wave), latex(factor * function((n + 1) * X) + shift))


@pytest.mark.parametrize("multiple", range(1, 12))
def test_exact_values_of_trigonometric_functions(judge, multiple) -> None:
    angle = Rational(multiple, 12) * pi
    degrees = rf"{multiple * 15}^\circ"
    correct(judge, latex(sin(angle)), rf"\sin {degrees}")
    correct(judge, rf"\cos({degrees})", latex(cos(angle)))
    wrong(judge, latex(sin(angle)), rf"\sin {multiple * 15 + 1}^\circ")
    if multiple != 6:
        correct(judge, latex(sympy.radsimp(tan(angle))), rf"\tan({latex(angle, fold_short_frac=True)})")


def spellings_of_integer(n: int) -> list[str]:
    digits, sign = str(abs(n)), "-" if n < 0 else ""
    comma = f"{abs(n):,}"
    return [
        f"{sign}{body}"
        for body in (
            digits,
            comma,
            comma.replace(",", "{,}"),
            comma.replace(",", r"\,"),
            comma.replace(",", r",\!"),
            comma.replace(",", " "),
            f"{digits}.0",
            f"{digits}.00",
            digits.translate({ord(d): ord(d) + 0xFEE0 for d in "0123456789"}),
        )
    ] + [f"${n}$", rf"\boxed{{{n}}}", f"x = {n}", f"{n}.", rf"\({n}\)", rf"{n * 100}\%", rf"\frac{{{3 * n}}}{{3}}"]


@settings(max_examples=100)
@given(st.integers(-(10**12), 10**12).filter(bool), st.data())
def test_an_integer_in_every_spelling_equals_itself_and_not_its_neighbour(judge, n, data) -> None:
    answer = data.draw(st.sampled_from(spellings_of_integer(n)))
    correct(judge, str(n), answer)
    wrong(judge, str(n + 1), answer)
    wrong(judge, str(-n), answer)


def repeating_decimal(value: Fraction) -> str:
    r"""The exact decimal of a fraction in [0, 1) by long division: 1/6 -> 0.1\overline{6}."""
    digits, seen, rest = "", {}, value.numerator
    while rest and rest not in seen:
        seen[rest] = len(digits)
        digit, rest = divmod(rest * 10, value.denominator)
        digits += str(digit)
    if not rest:
        return f"0.{digits or '0'}"
    start = seen[rest]
    return rf"0.{digits[:start]}\overline{{{digits[start:]}}}"


def test_long_division() -> None:
    assert repeating_decimal(Fraction(1, 6)) == r"0.1\overline{6}"
    assert repeating_decimal(Fraction(3, 8)) == "0.375"
    assert repeating_decimal(Fraction(1, 7)) == r"0.\overline{142857}"


def spellings_of_fraction(value: Fraction) -> list[str]:
    top, bottom = value.numerator, value.denominator
    whole, part = divmod(value, 1)
    mixed = [rf"{whole}\frac{{{part.numerator}}}{{{bottom}}}", f"{whole} {part.numerator}/{bottom}"]
    return [
        rf"\frac{{{top}}}{{{bottom}}}",
        rf"\dfrac{{{7 * top}}}{{{7 * bottom}}}",
        f"{top}/{bottom}",
        rf"\frac{{-{top}}}{{-{bottom}}}",
        rf"{{{top} \over {bottom}}}",
        rf"{top} \div {bottom}",
        rf"\frac{{{100 * top}}}{{{bottom}}}\%",
        *(mixed if whole and part else []),
    ]


@settings(max_examples=100)
@given(st.fractions(Fraction(1, 60), 20, max_denominator=60), st.data())
def test_a_fraction_in_every_spelling_equals_itself_and_not_its_neighbour(judge, value, data) -> None:
    answer = data.draw(st.sampled_from(spellings_of_fraction(value)))
    correct(judge, f"{value.numerator}/{value.denominator}", answer)
    wrong(judge, str(value + Fraction(1, 10**9)), answer)
    wrong(judge, str(-value), answer)


@FEW
@given(st.fractions(0, 1, max_denominator=99).filter(lambda value: value < 1))
def test_a_decimal_that_repeats_equals_its_fraction_and_its_start_does_not(judge, value) -> None:
    decimal = repeating_decimal(value)
    correct(judge, str(value), decimal)
    correct(judge, decimal, rf"\frac{{{value.numerator}}}{{{value.denominator}}}")
    if "overline" in decimal:
        wrong(judge, str(value), decimal.replace(r"\overline{", "").replace("}", ""))


ENDS = list(product("([", ")]"))


@FEW
@given(st.integers(-20, 20), st.integers(1, 20), st.sampled_from(ENDS), st.sampled_from(ENDS))
def test_an_interval_equals_its_inequality_only_with_the_same_ends(judge, low, width, ends, other) -> None:
    high = low + width
    left = "<" if other[0] == "(" else r"\le"
    right = "<" if other[1] == ")" else r"\le"
    verdict = correct if ends == other else wrong
    verdict(judge, f"{ends[0]}{low},{high}{ends[1]}", f"{low} {left} x {right} {high}")


@FEW
@given(st.lists(st.fractions(-9, 9, max_denominator=9), min_size=2, max_size=5, unique=True), st.randoms())
def test_sets_are_unordered_and_tuples_are_not(judge, values, chance) -> None:
    texts = [str(value) for value in values]
    mixed = texts.copy()
    chance.shuffle(mixed)
    correct(judge, rf"\{{{','.join(texts)}\}}", rf"\{{{', '.join(mixed)}\}}")
    wrong(judge, rf"\{{{','.join(texts)}\}}", rf"\{{{', '.join(mixed[1:])}\}}")
    verdict = correct if texts == mixed else wrong
    verdict(judge, f"({','.join(texts)})", f"({', '.join(mixed)})")


@FEW
@given(st.integers(-9, 9).filter(bool), st.integers(-9, 9), st.integers(1, 5), st.booleans())
def test_a_line_equals_its_forms_and_no_neighbour(judge, slope, offset, times, flip) -> None:
    sides = (times * Y, sympy.expand(times * (slope * X + offset)))
    line = "{} = {}".format(*map(latex, reversed(sides) if flip else sides))
    correct(judge, latex(sympy.Eq(Y, slope * X + offset)), line)
    correct(judge, line, latex(slope * X - Y + offset) + " = 0")
    wrong(judge, latex(sympy.Eq(Y, slope * X + offset + 1)), line)
    wrong(judge, latex(sympy.Eq(Y, (slope + 1) * X + offset)), line)


@FEW
@given(st.integers(-9, 9), st.integers(-9, 9).filter(bool), st.integers(-9, 9), st.integers(-9, 9).filter(bool))
def test_complex_numbers_in_other_forms(judge, a, b, c, d) -> None:
    z, w = a + b * sympy.I, c + d * sympy.I
    correct(judge, latex(sympy.expand(z * w)), rf"({latex(z)})({latex(w)})")
    correct(judge, latex(sympy.expand(z / w, complex=True)), rf"\frac{{{latex(z)}}}{{{latex(w)}}}")
    wrong(judge, latex(z), latex(sympy.conjugate(z)))
    wrong(judge, latex(z), latex(z + Integer(1)))


def some_rows() -> list[tuple[str, str]]:
    """Every ninth case of the table that is a bare answer, hostile ones aside: they are another test's."""
    rows = [(case["gold"], case["answer"]) for case in ALL if "answer" in case and case["topic"] != "hostile"]
    return rows[::9]


def verdicts(judge: MathJudge, rows: list[tuple[str, str]], threads: int) -> dict[tuple[str, str], str]:
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(lambda row: judge.judge(*row).verdict, rows)
        return dict(zip(rows, found, strict=True))


def test_verdicts_do_not_depend_on_order_workers_or_cache() -> None:
    rows = some_rows()
    shuffled = random.Random(5).sample(rows, len(rows))
    expected = None
    for order, workers, cache_rows in [(rows, 1, 0), (shuffled, 2, 0), (rows[::-1], 2, 10_000), (shuffled * 2, 1, 50)]:
        judge = MathJudge(num_workers=workers, cache_rows=cache_rows)
        found = verdicts(judge, order, workers)
        judge.close()
        expected = expected or found
        assert found == expected


DIGIT = st.integers(2, 9)


@FEW
@given(DIGIT, st.integers(1, 9), st.sampled_from("+-"))
def test_a_digit_before_e_multiplies_eulers_number_and_is_no_power_of_ten(judge, factor, term, sign) -> None:
    assume(sign == "+" or term < 3)
    text = f"{factor}e{sign}{term}"
    correct(judge, text, f"{sign if sign == '-' else ''}{term}+{factor}e")
    for value in (str(Fraction(factor) * Fraction(10) ** int(f"{sign}{term}")), repr(float(text))):
        wrong(judge, text, value)
        wrong(judge, value, text)


@FEW
@given(
    st.integers(1, 10**9),
    st.integers(-30, 30),
    st.sampled_from(["{:.3e}", "{:.5E}"]),
    st.sampled_from([float, Decimal]),
)
def test_a_number_as_programs_print_it_is_a_power_of_ten(judge, whole, power, form, kind) -> None:
    text = form.format(kind(f"{whole}e{power}"))
    mantissa, exponent = text.lower().split("e")
    plain = rf"{mantissa} \times 10^{{{int(exponent)}}}"
    correct(judge, text, plain)
    correct(judge, plain, text)


@FEW
@given(st.integers(2, 10**6), st.integers(10**6, 10**18), st.integers(2, 9), st.integers(1, 99))
def test_a_huge_power_equals_its_other_forms_and_no_neighbour(judge, base, exponent, split, more) -> None:
    huge = rf"{base}^{{{exponent}}}"
    correct(judge, huge, rf"{base}^{{{split}}} \cdot {base}^{{{exponent - split}}}")
    for other in (f"{huge}+{more}", f"{huge}-{more}", rf"{base}^{{{exponent + more}}}", str(more)):
        wrong(judge, huge, other)
        wrong(judge, other, huge)


@FEW
@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(-3, 3), st.integers(3, 6), st.integers(1, 4))
def test_a_sequence_goes_on_as_it_began(judge, start, slope, bend, shown, more) -> None:
    terms = [start + slope * k + bend * k * k for k in range(shown + more)]
    assume(not bend or shown > 3)
    gold = ", ".join(map(str, terms[:shown])) + r", \ldots"
    longer = ",".join(map(str, terms))
    correct(judge, gold, longer + ",...")
    wrong(judge, gold, longer)
    wrong(judge, gold, longer.removesuffix(str(terms[-1])) + f"{terms[-1] + 1},...")
