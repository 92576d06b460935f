"""The house rules, held over rlkit/ and rewards/; each detector is also shown a planted violation."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

import pytest
from pydantic import BaseModel

import rlkit
from rlkit.recipe.schema import Recipe, Section

ROOT = Path(__file__).parents[1]
MAX_FILE, MAX_FUNCTION, MAX_NESTING, MAX_LOOP = 300, 60, 3, 40
FORBIDDEN_NAMES = {"utils", "util", "common", "core", "base", "helpers", "helper", "misc"}
GROUND = {"records", "errors", "disk", "find", "recipe.schema", "stages.registry"}
"""What every room may import: the records, the exceptions, files that survive a kill,
objects that a recipe names, the recipe's keys, and which kinds of stages there are."""
ROOMS: dict[str, set[str]] = {
    # room: which other rooms it may import, beside the ground
    "recipe": set(),
    "data": set(),
    "verify": set(),
    "verify.sandbox": set(),
    "verify.steps": set(),
    "verify.math": {"verify"},
    "verify.code": {"verify.sandbox"},
    "algorithm": set(),
    "models": set(),
    "cluster": set(),
    "plan": {"recipe", "cluster", "verify.sandbox"},
    "rollout": {"cluster", "models"},
    "scoring": {"scoring.plugins"},
    "scoring.plugins": set(),
    "scoring.processes": {"scoring", "scoring.plugins", "cluster"},
    "scoring.kit": {
        "scoring", "scoring.plugins", "scoring.processes", "recipe", "data",
        "verify.math", "verify.code", "verify.sandbox",
    },
    "learner": {"algorithm", "models", "cluster"},
    "watch": {"algorithm"},
    "keep": {"recipe", "watch"},
    "stages": {"cluster", "data", "plan", "watch"},
    "stages.offline": {"cluster", "data", "keep", "models", "plan", "stages", "watch"},
    "stages.online": {
        "algorithm", "cluster", "data", "keep", "learner", "plan", "rollout", "scoring", "scoring.processes", "stages",
        "watch",
    },
    "run": {
        "cluster", "data", "keep", "models", "plan", "recipe", "rollout", "scoring.plugins", "stages", "stages.online",
        "watch",
    },
    "cli": {"cluster", "plan", "recipe", "run", "scoring.kit", "verify.math", "watch"},
}  # fmt: skip
MAX_LOOSE = 4
"""Files of rlkit/ itself, beside __init__.py and __main__.py."""
RECORDS = {"Group", "Sample", "Score", "ScoredGroup", "Task", "Verdict"}
WHERE = {
    "ray": ("rlkit/cluster/*", "rlkit/scoring/processes/scoring_pool.py"),
    "vllm": ("rlkit/rollout/engine.py", "rlkit/rollout/weights.py"),
    "trl": ("rlkit/stages/offline/*",),
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
    return [f"{path}: {part!r} names no idea; name what it does" for part in parts if part in FORBIDDEN_NAMES]


def room_of(dotted: str) -> str | None:
    """The room of a module or of a name in it: "rlkit.recipe.schema.Recipe" -> "recipe.schema"."""
    parts = dotted.split(".")
    if parts[0] != "rlkit" or len(parts) == 1:
        return None
    for length in (2, 1):
        room = ".".join(parts[1 : 1 + length])
        if room in ROOMS or room in GROUND:
            return room
    return parts[1]


def crossing_imports(path: str, source: str) -> list[str]:
    """A room imports the ground, itself and the rooms that ROOMS lists for it."""
    own = room_of(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    if own not in ROOMS and own != "recipe.schema":
        return []
    allowed = {own, *GROUND, *ROOMS[own]} if own in ROOMS else {own, "stages.registry"}
    return [
        f"{path}:{line} imports {name}: rlkit/{own.replace('.', '/')} may import {', '.join(sorted(allowed))}"
        for line, name in imports(source, path)
        if name.split(".")[0] == "rlkit" and name.removeprefix("rlkit.") not in RECORDS | {"__version__"}
        if room_of(name) not in allowed
    ]


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
    if path != "rlkit/stages/online/train.py":
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
    "a name says what is in it": (
        forbidden_names,
        [("rlkit/utils/a.py", ""), ("rlkit/data/helpers.py", "")],
        [("rlkit/data/a.py", "")],
    ),
    "rooms import in one direction": (
        crossing_imports,
        [
            ("rlkit/data/a.py", "def f():\n    from rlkit.rollout import engine"),
            ("rlkit/data/a.py", "from rlkit import rollout"),
            ("rlkit/data/a.py", "from ..rollout import engine"),
            ("rlkit/data/a.py", "from rlkit.stages.online.train import train"),
            ("rlkit/data/a.py", "from rlkit.recipe.load import load_recipe"),
            ("rlkit/algorithm/a.py", "import rlkit.learner.policy"),
            ("rlkit/recipe/schema/a.py", "from rlkit.recipe.load import load_recipe"),
            ("rlkit/verify/math/a.py", "from rlkit.verify.code.code_judge import judge_code"),
        ],
        [
            ("rlkit/learner/a.py", "from rlkit.algorithm.loss import f\nfrom rlkit.learner import b"),
            (
                "rlkit/data/a.py",
                "from rlkit.records import Task\nfrom rlkit.recipe.schema import Recipe\nimport rlkit.errors",
            ),
            ("rlkit/data/a.py", "from . import b\nfrom rlkit.recipe import schema\nfrom rlkit import Task"),
            ("rlkit/run/pipeline.py", "import rlkit.keep.resume"),
        ],
    ),
    "ray, vllm and trl stay at the edge": (
        misplaced_imports,
        [
            ("rlkit/rollout/engine.py", "import ray.util"),
            ("rlkit/rollout/rollout_pool.py", "import ray"),
            ("rlkit/stages/online/train.py", "def f():\n    from vllm import LLM"),
            ("rlkit/learner/a.py", "import trl"),
        ],
        [
            ("rlkit/cluster/supervisor.py", "import ray"),
            ("rlkit/rollout/engine.py", "from vllm import LLM"),
            ("rlkit/stages/offline/sft.py", "import trl"),
        ],
    ),
    "rewards have no back door": (
        back_doors,
        [
            ("rewards/a.py", "from rlkit.verify.math.math_judge import judge_math"),
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
        [("rlkit/stages/online/train.py", "def f():\n    for i in x:\n" + "        x = 1\n" * 38)],
        [("rlkit/stages/online/train.py", "def f():\n    for i in x:\n" + "        x = 1\n" * 37)],
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


def test_every_folder_is_a_room() -> None:
    folders = {".".join(p.parent.relative_to(ROOT / "rlkit").parts) for p in (ROOT / "rlkit").glob("**/__init__.py")}
    known = {*ROOMS, "recipe.schema", "verify.sandbox.wasm", ""}
    assert folders == known, "a new folder is a new room: say in ROOMS what it may import"


def test_rooms_have_one_direction() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) is not None
    assert cycle(ROOMS) is None


def cycle(graph: Mapping[str, Collection[str]]) -> str | None:
    """One member of a cycle; None where there is none."""
    left = {node: set(graph[node]) & graph.keys() for node in graph}
    while free := [node for node, needs in left.items() if not needs]:
        left = {node: needs.difference(free) for node, needs in left.items() if node not in free}
    return next(iter(left), None)


def module_graph() -> dict[str, set[str]]:
    """Which modules of rlkit each of them imports, at any depth, but for what only a type checker reads."""
    modules = {
        path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): source for path, source in sources()
    }
    graph: dict[str, set[str]] = {}
    for module, source in modules.items():
        hidden = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.If) and is_for_types(node)]
        lines = {line for node in hidden for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
        found = [name for line, name in imports(source) if line not in lines]
        graph[module] = {known for name in found if (known := module_of(name, modules)) not in (None, module, "rlkit")}
    return graph


def is_for_types(node: ast.If) -> bool:
    """`if TYPE_CHECKING:`"""
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def module_of(name: str, modules: Collection[str]) -> str | None:
    """The module that a dotted name is in."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def test_no_module_imports_itself_through_others() -> None:
    assert cycle(module_graph()) is None


def doubles(names: Iterable[tuple[str, str]]) -> list[str]:
    """Of (name, place): the names that stand in more than one place, with those."""
    places: dict[str, list[str]] = {}
    for name, place in names:
        places.setdefault(name, []).append(place)
    return [f"{name}: {', '.join(found)}" for name, found in places.items() if len(found) > 1]


def test_no_two_modules_or_classes_share_a_name() -> None:
    assert doubles([("a", "x"), ("b", "x"), ("a", "y")]) == ["a: x, y"]
    own = [(path, source) for path, source in sources() if path.count("/") > 0]
    modules = [(Path(path.removesuffix("/__init__.py")).stem, path) for path, _ in own]
    classes = [
        (node.name, path)
        for path, source in own
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
    ]
    assert doubles(modules) == []
    assert doubles(classes) == []


def test_few_files_lie_outside_of_rooms() -> None:
    loose = sorted(p.name for p in (ROOT / "rlkit").glob("*.py") if p.name not in ("__init__.py", "__main__.py"))
    assert len(loose) <= MAX_LOOSE, f"{loose}: give each a room"


def test_the_lock_names_versions_only() -> None:
    lines = (ROOT / "requirements/cpu.txt").read_text(encoding="utf-8").split()
    assert lines == [line for line in lines if line.count("==") == 1 and "://" not in line]
