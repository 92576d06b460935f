"""How much of what a program does its plan speaks of: the program's syntax tree beside the words of the plan."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass

_MAX_PROGRAM = 20_000
_MAX_PLAN = 50_000
_FREE_CLAIMS = 2
"""Operations that a plan may name although the program has none: words are not as exact as programs."""
_WORD = re.compile(r"[A-Za-z_]\w*|\d+(?:\.\d+)?")
_BLOCK = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_OPERATIONS: dict[str, tuple[tuple[type[ast.AST], ...], frozenset[str], str]] = {
    # name: (nodes of the syntax tree, names that are called), how a plan speaks of it
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
    """A plan beside its program."""

    spoken: tuple[str, ...]
    """Names, numbers and operations of the program that the plan speaks of."""
    total: int
    """Names, numbers and operations of the program."""
    claims: int
    """Operations that the plan speaks of, in the program or not."""
    kept: int
    """Those of them that are in the program."""

    @property
    def value(self) -> float:
        """Coverage, full at a half, times the share of claims that the program keeps, with two of them free."""
        coverage = min(1.0, 2 * len(self.spoken) / max(1, self.total))
        return coverage * min(1.0, (self.kept + _FREE_CLAIMS) / max(1, self.claims))


def compare_plan(plan: str, program: str) -> ProgramPlan | None:
    """What a plan says of a program; None where the program is no Python. The program is read, never run.

    Blocks of code and lines of the program in the plan count for nothing: a program is not its own plan.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(program[:_MAX_PROGRAM])
    # Whatever a model writes may be nested too deep, or hold what no source file may.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    names, used = _things(tree)
    words_of_plan = _in_words(plan, program)
    words = set(_WORD.findall(words_of_plan))
    told = {name for name, (_, _, telling) in _OPERATIONS.items() if re.search(telling, words_of_plan, re.IGNORECASE)}
    spoken = sorted(names & words) + sorted(told & used)
    return ProgramPlan(tuple(spoken), len(names) + len(used), len(told), len(told & used))


def _in_words(plan: str, program: str) -> str:
    lines = {line.strip() for line in program.splitlines()}
    plan = _BLOCK.sub("\n", plan[:_MAX_PLAN])
    return "\n".join(line for line in plan.splitlines() if line.strip() not in lines)


def _things(tree: ast.AST) -> tuple[set[str], set[str]]:
    """(names and numbers, operations) that a program uses. What it calls its own functions a plan need not say."""
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
