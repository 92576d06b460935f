"""The house rules of DESIGN.md, held over rlkit/ and rewards/; each detector is also shown a planted violation."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from pydantic import BaseModel

import rlkit
from rlkit.recipe.schema import Recipe, Section

ROOT = Path(__file__).parents[1]
MAX_FILE, MAX_FUNCTION, MAX_NESTING, MAX_LOOP = 300, 60, 3, 40
FORBIDDEN_NAMES = {"utils", "util", "common", "core", "base", "helpers", "helper", "misc"}
STAGES = {"recipe", "data", "rollout", "verify", "scoring", "algorithm", "learner", "offline", "viewer"}
SHARED = ("rlkit.records", "rlkit.errors", "rlkit.recipe.schema")
# The Ray edge of a stage waits through cluster.get (deadlines in one place), takes weights through weight_sync, and
# puts a model that it wrote on the disk through disk.
EDGE = ("*/pool.py", "rlkit/learner/group.py", "rlkit/learner/worker.py", "rlkit/offline/launch.py")
EDGE_SHARED = ("rlkit.cluster", "rlkit.weight_sync", "rlkit.disk")
RECORDS = {"Group", "Sample", "Score", "ScoredGroup", "Task", "TrainBatch", "Verdict"}
MAY_IMPORT_STAGE = {("learner", "algorithm")}
WHERE = {
    "ray": ("rlkit/cluster.py", "rlkit/*/pool.py", "rlkit/learner/group.py", "rlkit/weight_sync.py", "rlkit/offline/*"),
    "vllm": ("rlkit/rollout/engine.py", "rlkit/weight_sync.py"),
    "trl": ("rlkit/offline/*",),
}
REWARD_IMPORTS = {"rewards", *sys.stdlib_module_names}

Detector = Callable[[str, str], list[str]]
"""(path from the repository's root, source) -> violations."""


def sources() -> list[tuple[str, str]]:
    files = sorted([*ROOT.glob("rlkit/**/*.py"), *ROOT.glob("rewards/**/*.py")])
    return [(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")) for file in files]


def imports(source: str, path: str = "") -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import at any depth; `from a import b` gives a.b."""
    package = path.split("/")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def functions(source: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def long_files(path: str, source: str) -> list[str]:
    lines = len(source.splitlines())
    return [f"{path} has {lines} lines, at most {MAX_FILE}"] if lines > MAX_FILE else []


def long_functions(path: str, source: str) -> list[str]:
    return [
        f"{path}:{f.lineno} {f.name} has {length} lines, at most {MAX_FUNCTION}"
        for f in functions(source)
        if (length := (f.end_lineno or f.lineno) - f.lineno + 1) > MAX_FUNCTION
    ]


NESTING = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)


def depth(node: ast.AST) -> int:
    """Deepest chain of nested blocks below a node; an `elif` is as deep as its `if`; inner functions count alone."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deepest = max(deepest, depth(child) + (isinstance(child, NESTING) and not is_elif))
    return deepest


def deep_functions(path: str, source: str) -> list[str]:
    return [
        f"{path}:{f.lineno} {f.name} nests {d} deep, at most {MAX_NESTING}"
        for f in functions(source)
        if (d := depth(f)) > MAX_NESTING
    ]


def forbidden_names(path: str, source: str) -> list[str]:
    parts = [part.removesuffix(".py") for part in path.split("/")]
    return [f"{path}: {part!r} is no stage; name what it does" for part in parts if part in FORBIDDEN_NAMES]


def stage_of(dotted: str) -> str | None:
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "rlkit" and parts[1] in STAGES else None


def crossing_imports(path: str, source: str) -> list[str]:
    """Stages import the records, the errors, the recipe's schema and themselves, and learner also algorithm."""
    own = stage_of(path.removesuffix(".py").replace("/", "."))
    if own is None:
        return []
    return [
        f"{path}:{line} imports {name}: a stage imports records, errors, the recipe's schema and itself"
        for line, name in imports(source, path)
        if name.split(".")[0] == "rlkit" and not may_import(path, own, name)
    ]


def may_import(path: str, own: str, name: str) -> bool:
    if any(fnmatch(path, edge) for edge in EDGE) and name.startswith(EDGE_SHARED):
        return True
    if name.removeprefix("rlkit.") in RECORDS or any(name == s or name.startswith(f"{s}.") for s in SHARED):
        return True
    other = stage_of(name)
    return other == own or (own, other) in MAY_IMPORT_STAGE


def misplaced_imports(path: str, source: str) -> list[str]:
    """Ray, vLLM and TRL stay at the edge."""
    return [
        f"{path}:{line} imports {name}: only {', '.join(WHERE[top])} may"
        for line, name in imports(source, path)
        if (top := name.split(".")[0]) in WHERE and not any(fnmatch(path, where) for where in WHERE[top])
    ]


def back_doors(path: str, source: str) -> list[str]:
    """Built-in rewards use what a stranger's plugin can: `from rlkit import ...` and nothing below it."""
    if not path.startswith("rewards/"):
        return []
    return [
        f"{path}:{line} imports {name}: rewards import the standard library and what `rlkit` itself exports"
        for line, name in imports(source, path)
        if name.split(".")[0] not in REWARD_IMPORTS and name.removeprefix("rlkit.") not in rlkit.__all__
    ]


def undocumented(path: str, source: str) -> list[str]:
    """Public modules, classes, functions and methods without a docstring."""
    tree = ast.parse(source)
    missing = [] if ast.get_docstring(tree) else [f"{path} has no docstring"]
    queue: list[ast.AST] = [tree]
    while queue:
        parent = queue.pop()
        for node in ast.iter_child_nodes(parent):
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            if node.name.startswith("_"):
                continue
            if not ast.get_docstring(node) and not is_overload(node):
                missing.append(f"{path}:{node.lineno} {node.name} has no docstring")
            if isinstance(node, ast.ClassDef):
                queue.append(node)
    return missing


def is_overload(node: ast.AST) -> bool:
    """Whether a function only declares a type, or repeats what its parent class documents."""
    names = {ast.unparse(d).split(".")[-1] for d in getattr(node, "decorator_list", [])}
    return bool(names & {"overload", "override"})


def long_loop(path: str, source: str) -> list[str]:
    """THE LOOP: whichever function of train.py holds the loop over steps."""
    if path != "rlkit/train.py":
        return []
    return [
        f"{path}:{f.lineno} {f.name} has {length} lines, fewer than {MAX_LOOP} allowed"
        for f in functions(source)
        if any(isinstance(node, (ast.For, ast.While)) for node in ast.walk(f))
        and (length := (f.end_lineno or f.lineno) - f.lineno + 1) >= MAX_LOOP
    ]


def nested(levels: int) -> str:
    body = "\n".join("    " * (i + 1) + "if x:" for i in range(levels))
    return f"def f(x):\n{body}\n{'    ' * (levels + 1)}pass\n"


Case = tuple[str, str]
RULES: dict[str, tuple[Detector, list[Case], list[Case]]] = {
    # rule: its detector, planted violations (each must be seen), and what it must let pass
    "a file has at most 300 lines": (
        long_files,
        [("rlkit/a.py", "x = 1\n" * 301)],
        [("rlkit/a.py", "x = 1\n" * 300)],
    ),
    "a function has at most 60 lines": (
        long_functions,
        [("rlkit/a.py", "def f():\n" + "    x = 1\n" * 60)],
        [("rlkit/a.py", "def f():\n" + "    x = 1\n" * 59)],
    ),
    "blocks nest at most 3 deep": (
        deep_functions,
        [("rlkit/a.py", nested(4))],
        [
            ("rlkit/a.py", nested(3)),
            ("rlkit/a.py", "def f(x):\n    if x:\n        pass\n" + "    elif x:\n        pass\n" * 9),
        ],
    ),
    "a folder is a stage": (
        forbidden_names,
        [("rlkit/utils/a.py", ""), ("rlkit/data/helpers.py", "")],
        [("rlkit/data/a.py", "")],
    ),
    "stages do not import each other": (
        crossing_imports,
        [
            ("rlkit/data/a.py", "def f():\n    from rlkit.rollout import engine"),
            ("rlkit/data/a.py", "from rlkit import rollout"),
            ("rlkit/data/a.py", "from ..rollout import engine"),
            ("rlkit/data/a.py", "from rlkit.train import train"),
            ("rlkit/data/a.py", "from rlkit.recipe.load import load_recipe"),
            ("rlkit/algorithm/a.py", "import rlkit.learner.model"),
        ],
        [
            ("rlkit/learner/a.py", "from rlkit.algorithm.loss import f\nfrom rlkit.learner import b"),
            (
                "rlkit/data/a.py",
                "from rlkit.records import Task\nfrom rlkit.recipe.schema import Recipe\nimport rlkit.errors",
            ),
            ("rlkit/data/a.py", "from . import b\nfrom rlkit.recipe import schema\nfrom rlkit import Task"),
            ("rlkit/pipeline.py", "import rlkit.learner.model"),
        ],
    ),
    "ray, vllm and trl stay at the edge": (
        misplaced_imports,
        [
            ("rlkit/rollout/engine.py", "import ray.util"),
            ("rlkit/train.py", "def f():\n    from vllm import LLM"),
            ("rlkit/learner/a.py", "import trl"),
        ],
        [
            ("rlkit/rollout/pool.py", "import ray"),
            ("rlkit/rollout/engine.py", "from vllm import LLM"),
            ("rlkit/offline/sft.py", "import trl"),
        ],
    ),
    "rewards have no back door": (
        back_doors,
        [
            ("rewards/a.py", "from rlkit.verify.math import judge_math"),
            ("rewards/a.py", "from rlkit import verify"),
            ("rewards/a.py", "import torch"),
        ],
        [("rewards/a.py", "import re\nfrom rlkit import Group, judge_math")],
    ),
    "what is public has a docstring": (
        undocumented,
        [
            ("rlkit/a.py", "x = 1"),
            ("rlkit/a.py", '"""Doc."""\ndef f(): ...'),
            ("rlkit/a.py", '"""Doc."""\nclass A:\n    """Doc."""\n    def f(self): ...'),
        ],
        [("rlkit/a.py", '"""Doc."""\nclass A:\n    """Doc."""\n    def _f(self): ...')],
    ),
    "the loop has fewer than 40 lines": (
        long_loop,
        [("rlkit/train.py", "def f():\n    for i in x:\n" + "        x = 1\n" * 38)],
        [("rlkit/train.py", "def f():\n    for i in x:\n" + "        x = 1\n" * 37)],
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_detector_sees_planted_violations_and_only_those(rule: str) -> None:
    detect, planted, allowed = RULES[rule]
    for case in planted:
        assert detect(*case), f"not seen: {case}"
    for case in allowed:
        assert detect(*case) == []


@pytest.mark.parametrize("rule", RULES)
def test_rule(rule: str) -> None:
    violations = [v for path, source in sources() for v in RULES[rule][0](path, source)]
    assert not violations, "\n" + "\n".join(violations)


def undocumented_keys(model: type[BaseModel]) -> list[str]:
    return [f"{model.__name__}.{name}" for name, field in model.model_fields.items() if not field.description]


def all_sections() -> set[type[Section]]:
    found, queue = set(), [Section]
    while queue:
        section = queue.pop()
        found.add(section)
        queue += [s for s in section.__subclasses__() if s.__module__.startswith("rlkit.")]
    return found


def test_every_recipe_key_has_a_line_of_doc() -> None:
    class Planted(Section):
        told: int = 1
        """Doc."""
        untold: int = 1

    assert undocumented_keys(Planted) == ["Planted.untold"]
    sections = all_sections()
    assert Recipe in sections
    assert [key for section in sections for key in undocumented_keys(section)] == []


def test_every_folder_is_a_known_stage() -> None:
    folders = {p.parent.name for p in (ROOT / "rlkit").glob("*/__init__.py")}
    assert folders <= STAGES, f"{folders - STAGES}: a new folder is a new stage; add it to DESIGN.md and to STAGES"


def test_the_lock_names_versions_only() -> None:
    lines = (ROOT / "requirements/cpu.txt").read_text(encoding="utf-8").split()
    assert lines == [line for line in lines if line.count("==") == 1 and "://" not in line]
