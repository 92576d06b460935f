"""Compares a plan in words with the program's syntax tree: how much of the program the plan mentions."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass

_MAX_PROGRAM = 20_000
_MAX_PLAN = 50_000
_FREE_CLAIMS = 2
"""Number of operations that a plan may mention although the program lacks them, because words are ambiguous."""
_WORD = re.compile(r"[A-Za-z_]\w*|\d+(?:\.\d+)?")
_BLOCK = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_OPERATIONS: dict[str, tuple[tuple[type[ast.AST], ...], frozenset[str], str]] = {
    # name: (nodes of the syntax tree, names of called functions, words in a plan that mention it)
    "multiply": (
        (ast.Mult,),
        frozenset({"prod"}),
        r"\*|×|multipl|\btimes\b|product|twice|doubl|tripl|scale|square|repeat",
    ),
    "power": ((ast.Pow,), frozenset({"pow"}), r"\*\*|\^|power|square|cube|exponent"),
    "add": ((ast.Add,), frozenset({"sum"}), r"\+|\badd|plus\b|\bsum\b|\bsums|total|increas|concat|append|join"),
    "subtract": ((ast.Sub, ast.USub), frozenset({"abs"}), r" - |subtract|minus|differen|decreas|negat|distance"),
    "divide": ((ast.Div, ast.FloorDiv), frozenset({"divmod"}), r"÷|\bdivid|quotient|\bhalf|halve|average|\bmean\b"),
    "remainder": (
        (ast.Mod,),
        frozenset({"divmod"}),
        r"%|modulo|\bmod\b|remainder|\beven\b|\bodd\b|divisib|multiple of",
    ),
    "loop": (
        (ast.For, ast.While, ast.comprehension),
        frozenset({"map", "filter", "range"}),
        r"\bloop|iterat|\beach\b|\bevery\b|\bfor all\b|\bwhile\b|go over|go through|walk|travers|ones that|range",
    ),
    "condition": (
        (ast.If, ast.IfExp, ast.comprehension),
        frozenset({"filter"}),
        r"\bif\b|\bwhen\b|whether|otherwise|\bcheck|\bcase|unless|ones that|\bkeep\b|\bskip",
    ),
    "compare": (
        (ast.Lt, ast.LtE, ast.Gt, ast.GtE),
        frozenset({"max", "min", "sorted", "sort"}),
        r"[<>≤≥]|compar|larg|small|bigg|great|\bless\b|\bmore than\b|at most|at least|maxim|minim|\blimit",
    ),
    "slice": (
        (ast.Slice,),
        frozenset({"reversed"}),
        r"\bslic|backward|revers|\bfirst\b|\blast\b|prefix|suffix|substring",
    ),
    "sort": ((), frozenset({"sorted", "sort"}), r"\bsort|in order\b|ascending|descending"),
    "set": ((ast.Set, ast.SetComp), frozenset({"set", "frozenset"}), r"\bsets?\b|unique|distinct|duplicat"),
    "mapping": ((ast.Dict, ast.DictComp), frozenset({"dict", "Counter"}), r"\bdict|\bmapping|hash|frequenc|\bkeys?\b"),
    "count": ((), frozenset({"len", "count", "Counter", "sum"}), r"\bcount|\blength|\bhow many|\bhow often|number of"),
    "search": ((ast.In, ast.NotIn), frozenset({"find", "index", "count"}), r"\bsearch|\bfind|look (?:for|up)|contain"),
}


@dataclass(frozen=True)
class ProgramPlan:
    """The comparison of a plan with its program."""

    mentioned: tuple[str, ...]
    """Names, numbers and operations of the program that the plan mentions."""
    total: int
    """Number of names, numbers and operations of the program."""
    claims: int
    """Number of operations that the plan mentions."""
    kept: int
    """Number of those that are in the program."""

    @property
    def value(self) -> float:
        """Coverage (half of the program gives 1), times the share of true claims, with two false claims allowed."""
        coverage = min(1.0, 2 * len(self.mentioned) / max(1, self.total))
        return coverage * min(1.0, (self.kept + _FREE_CLAIMS) / max(1, self.claims))


def compare_plan(plan: str, program: str) -> ProgramPlan | None:
    """Compares a plan with a program; None if the program is not valid Python. Parses the program and never runs it.

    Ignores code blocks and lines of the program in the plan, because a program is not its own plan.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(program[:_MAX_PROGRAM])
    # A model's program may be nested too deeply or contain invalid characters.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    names, used = _names_and_operations(tree)
    words_of_plan = _in_words(plan, program)
    words = set(_WORD.findall(words_of_plan))
    claimed = {name for name, (_, _, terms) in _OPERATIONS.items() if re.search(terms, words_of_plan, re.IGNORECASE)}
    mentioned = sorted(names & words) + sorted(claimed & used)
    return ProgramPlan(tuple(mentioned), len(names) + len(used), len(claimed), len(claimed & used))


def _in_words(plan: str, program: str) -> str:
    lines = {line.strip() for line in program.splitlines()}
    plan = _BLOCK.sub("\n", plan[:_MAX_PLAN])
    return "\n".join(line for line in plan.splitlines() if line.strip() not in lines)


def _names_and_operations(tree: ast.AST) -> tuple[set[str], set[str]]:
    """(names and numbers, operations) that a program uses, without the names of the functions that it defines."""
    names: set[str] = set()
    kinds: set[type[ast.AST]] = set()
    for node in ast.walk(tree):
        kinds.add(type(node))
        if isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, int | float) and abs(node.value) < 1e30:
            names.add(str(node.value))
    used = {name for name, (nodes, calls, _) in _OPERATIONS.items() if kinds & set(nodes) or names & calls}
    return names, used
