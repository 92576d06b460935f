"""Converts the test formats of code data sets into rlkit's own code reference. Never runs any code.

Own format: {"mode": "stdin", "tests": [{"stdin": "1", "stdout": "2"}]}, as for `rlkit verify code`.
Pairs (APPS, TACO, CodeContests, PRIME, verl): {"inputs": [...], "outputs": [...], "fn_name": "f"}; without a function
    name the program is a script, and a test's text may be a list of lines.
Tests (LiveCodeBench and others): [{"input": ..., "output": ..., "testtype": "stdin" | "functional"}, ...].
Asserts (MBPP, AceCode): ["assert f(1) == 2", ...], or the text of a test program.

Each may be JSON text, or be nested in an object under one of the keys in `NESTED`. The judges of these data sets
compare printed numbers by value and accept a tuple for a list, because JSON has no tuples. So do the converted
references.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rlkit.data.cases import check_code_reference, turn_asserts
from rlkit.data.code_rules import rules_of, usual_rules
from rlkit.data.code_values import arguments, decompressed, int_keys, parse, put, text_of_lines
from rlkit.data.rows import RowError

NESTED = (
    "input_output",
    "reference",
    "ground_truth",
    "reward_model",
    "verification_info",
    "test_cases",
    "public_test_cases",
    "test_list",
)
"""Keys under which the tests may be nested in an object."""
_ENTRIES = ("entry_point", "fn_name", "func_name", "function_name")
_INPUTS, _OUTPUTS = ("stdin", "input"), ("stdout", "output", "expected_output")
_OWN_TEST = {"args", "args_py", "kwargs", "kwargs_py", "expected", "expected_py", "accepted", "accepted_py"}
_TYPES = {
    "stdin": "stdin",
    "stdin_stdout": "stdin",
    "standard_input": "stdin",
    "functional": "function",
    "function": "function",
    "function_call": "function",
    "call_based": "function",
}
_TEXT_SIGNS = re.compile(r'"(?:mode|inputs|testtype|test_code|fn_name|stdin|input_output)"\s*:')


def looks_like_code(value: Any) -> bool:
    """Whether a reference without a kind looks like the tests of a program."""
    if isinstance(value, str):
        return value.lstrip()[:1] in ("{", "[") and _TEXT_SIGNS.search(value) is not None
    if isinstance(value, Mapping):
        return True
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(test, Mapping) for test in value) or _are_asserts(value)


def code_reference(given: Any) -> dict[str, Any]:
    """Converts and checks a code reference, and turns asserts into cases if possible.

    Args:
        given: a reference in one of the formats above.

    Raises:
        RowError: the format is unknown, or a test is invalid.
    """
    reference = reshape(given)
    reason = check_code_reference(reference)
    if reason:
        raise RowError(reason)
    return dict(turn_asserts(reference))


def reshape(given: Any) -> dict[str, Any]:
    """Converts a code reference into rlkit's own format, without checking its tests.

    Args:
        given: a reference in one of the formats above, or a row that contains one among other columns.

    Raises:
        RowError: the format is unknown.
    """
    flat = _flatten(given)
    is_own = "mode" in flat
    tests, hidden = flat.get("tests"), flat.get("hidden_tests")
    entry = _entry(flat, tests)
    mode = flat["mode"] if is_own else _mode(flat, tests, entry)
    names = flat if is_own else ("limits", "contest_names")
    reference: dict[str, Any] = {name: flat[name] for name in names if name in flat}
    reference |= {"mode": mode, **({} if entry is None else {"entry_point": entry})}
    read = _script_tests if mode == "stdin" else _call_tests
    if mode == "asserts" and not is_own:
        reference["test_code"] = _test_code(flat, tests)
    elif isinstance(tests, list):
        reference["tests"] = read(tests)
    if isinstance(hidden, list):
        reference["hidden_tests"] = read(hidden)
    rules = rules_of(flat, {} if is_own else usual_rules(mode))
    return reference | ({"compare": rules} if rules else {})


def _flatten(given: Any) -> dict[str, Any]:
    """The reference as one object with "mode", "tests" or "test_code", without nesting."""
    value = _read(given) if isinstance(given, str) else given
    if isinstance(value, list):
        return {"tests": value}
    if not isinstance(value, Mapping):
        raise RowError("the reference contains no tests: it must be an object, a list or JSON text")
    tests = value.get("tests")
    if isinstance(tests, str | Mapping):
        return _join(value, "tests")
    if tests is not None or "test_code" in value:
        return dict(value)
    if "inputs" in value and "outputs" in value:
        return {**value, "tests": _paired(value["inputs"], value["outputs"])}
    name = next((name for name in NESTED if value.get(name) is not None), None)
    return dict(value) if name is None else _join(value, name)


def _read(text: str) -> Any:
    if text.lstrip()[:1] in ("{", "["):
        try:
            return parse(text)
        except RowError as e:
            raise RowError(f"the reference looks like a code reference, but is invalid JSON: {e}") from e
    if not re.search(r"^\s*assert\b", text, re.MULTILINE):
        raise RowError("kind is code, but the reference is text without tests; give JSON or Python asserts")
    return {"mode": "asserts", "test_code": text}


def _join(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Replaces the key `name` by the keys of the object nested under it, which override those of the outer object."""
    joined = {key: item for key, item in value.items() if key != name} | _flatten(value[name])
    private = joined.pop("private_test_cases", None)
    if isinstance(private, str) and private.strip():
        private = parse(private if private.lstrip()[:1] == "[" else decompressed(private))
    if isinstance(private, list) and isinstance(joined.get("tests"), list):
        joined["tests"] = [*joined["tests"], *private]
    if "mode" not in value:
        return joined
    # {"mode": "stdin", "tests": {"inputs": ...}}: the outer mode counts.
    return {**joined, "mode": value["mode"]}


def _paired(inputs: Any, outputs: Any) -> list[dict[str, Any]]:
    if isinstance(inputs, str) and isinstance(outputs, str):
        inputs, outputs = [inputs], [outputs]
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        raise RowError("inputs and outputs must be two lists of the same length")
    return [{"input": given, "output": wanted} for given, wanted in zip(inputs, outputs, strict=True)]


def _entry(reference: Mapping[str, Any], tests: Any) -> Any:
    """The function's name, from the reference, its metadata or its first test; None if there is none."""
    first = tests[0] if isinstance(tests, list) and tests and isinstance(tests[0], Mapping) else {}
    for place in (reference, _metadata(reference), first, _metadata(first)):
        for name in _ENTRIES:
            if place.get(name):
                return place[name]
    return None


def _metadata(place: Mapping[str, Any]) -> Mapping[str, Any]:
    found = place.get("metadata")
    found = parse(found) if isinstance(found, str) and found.lstrip()[:1] == "{" else found
    return found if isinstance(found, Mapping) else {}


def _mode(reference: Mapping[str, Any], tests: Any, entry: Any) -> str:
    if tests is None and any(isinstance(reference.get(name), str) for name in ("test_code", "test")):
        return "asserts"
    if not isinstance(tests, list) or not tests:
        raise RowError(
            "the code reference's mode is null and it has no tests: give mode with tests or test_code, inputs and "
            f"outputs, or one of {', '.join(NESTED)}"
        )
    if _are_asserts(tests):
        return "asserts"
    modes = {_mode_of_test(test, entry) for test in tests}
    if len(modes) > 1:
        raise RowError("some tests are for a script and others for a function: keep only one kind")
    return modes.pop()


def _mode_of_test(test: Any, entry: Any) -> str:
    if not isinstance(test, Mapping):
        raise RowError("a test is neither an object nor an assert")
    test_type = test.get("testtype", test.get("type"))
    if test_type is not None and str(test_type) not in _TYPES:
        raise RowError(f"a test is of type {str(test_type)[:40]!r}, not stdin or functional")
    mode = _TYPES[str(test_type)] if test_type is not None else ""
    if mode == "function" and not entry and not _OWN_TEST & set(test):
        raise RowError("the tests call a function without a name: add entry_point (or fn_name)")
    if mode:
        return mode
    return "function" if _OWN_TEST & set(test) or (entry and "stdin" not in test) else "stdin"


def _are_asserts(tests: Sequence[Any]) -> bool:
    return all(isinstance(test, str) and re.search(r"^\s*assert\b", test, re.MULTILINE) for test in tests)


def _test_code(reference: Mapping[str, Any], tests: Any) -> Any:
    if isinstance(tests, list):
        setup = [reference.get("test_setup_code") or "", *(reference.get("test_imports") or [])]
        return "\n".join(str(part) for part in (*setup, *tests) if str(part).strip()) + "\n"
    return reference.get("test_code", reference.get("test"))


def _script_tests(tests: list[Any]) -> list[Any]:
    return [_script_test(number, test) for number, test in enumerate(tests, start=1)]


def _script_test(number: int, test: Any) -> Any:
    if not isinstance(test, Mapping):
        return test
    given = next((test[name] for name in _INPUTS if name in test), "")
    wanted = next((test[name] for name in _OUTPUTS if name in test), None)
    try:
        return {"stdin": text_of_lines(given), "stdout": None if wanted is None else text_of_lines(wanted)}
    except RowError as e:
        raise RowError(f"test {number} of the code reference: {e}") from e


def _call_tests(tests: list[Any]) -> list[Any]:
    pairs = [test for test in tests if isinstance(test, Mapping) and {"input", "output"} <= set(test)]
    # APPS wraps a call's value in a list of one item. If all outputs are such lists, accept the value and the list.
    wrapped = all(isinstance(test["output"], list) and len(test["output"]) == 1 for test in pairs)
    made = []
    for number, test in enumerate(tests, start=1):
        if not isinstance(test, Mapping) or _OWN_TEST & set(test) or "input" not in test or "output" not in test:
            made.append(test)
            continue
        try:
            made.append(_call_test(test["input"], test["output"], wrapped))
        except RowError as e:
            raise RowError(f"test {number} of the code reference: {e}") from e
    return made


def _call_test(given: Any, wanted: Any, wrapped: bool) -> dict[str, Any]:
    args, kwargs = arguments(given)
    accepted = [parse(wanted)] if isinstance(given, str) and isinstance(wanted, str) else [wanted]
    if wrapped and isinstance(wanted, list):
        accepted = [wanted[0], wanted]
    accepted += [with_ints for value in accepted if (with_ints := int_keys(value)) is not value]
    test: dict[str, Any] = {}
    put(test, "args", args)
    if kwargs:
        put(test, "kwargs", kwargs)
    if len(accepted) == 1:
        put(test, "expected", accepted[0])
    else:
        put(test, "accepted", accepted)
    return test
