"""Runs one test in a sandbox, or in two if the test is code that cannot be read as data; returns the result."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rlkit.verify.code.code_compare import same_output, same_value
from rlkit.verify.code.code_tests import Malformed, Suite, Test
from rlkit.verify.sandbox.job import Job, Limits, Outcome, Running, Tier
from rlkit.verify.sandbox.lease import lease
from rlkit.verify.sandbox.values import BadValue, Tree, read_frame, write_frame

_SHOWN = 80
"""Characters of a value or an output that a detail shows."""
_SHOWN_DEPTH, _SHOWN_ITEMS = 3, 20
"""Levels of a value, and items in each, that a detail shows."""
_MAX_DETAIL = 300
"""Characters of a detail."""
_UNFIT = "unfit"
_LIMITED = ("timeout", "memory", "output", "disk")
"""Ends of a job that count as a failure even if a result came first."""
_ENDS = {"timeout": "timeout", "memory": "memory", "output": "output", "disk": "killed", "killed": "killed"}


@dataclass(frozen=True)
class Result:
    """How one test ended."""

    verdict: str
    """pass, fail, timeout, memory, output or killed."""
    detail: str = ""
    seconds: float = 0.0
    """Wall-clock seconds of the candidate's process."""
    cpu_seconds: float = 0.0
    """CPU seconds of it, all its threads together."""
    tier: str = ""
    """The sandbox tier; "" if the test was not run."""


@dataclass(frozen=True)
class Sandboxed:
    """Where programs are run."""

    tier: Tier | Literal["auto"] = "auto"
    """Sandbox tier; "auto" uses the strongest one that works on this machine."""
    packages: tuple[str, ...] = ()
    """Installed packages that a program may import."""


def run_test(test: Test, program: str, suite: Suite, place: Sandboxed) -> Result:
    """Runs a program against one test.

    Raises:
        SandboxError: no sandbox ran.
        Malformed: the test code cannot run, whatever the program is.
    """
    if test.request["mode"] == "tester":
        return _run_relayed(test, program, suite, place)
    with lease(place.tier, place.packages) as sandbox:
        running = sandbox.start(_job(test.request, suite, place, program, test.stdin))
        try:
            if test.request["mode"] == "stdin":
                running.wait()
            frame = running.receive()
        finally:
            outcome = running.finish()
    if isinstance(test.want, bytes):
        verdict, detail = _printed(frame, outcome, test.want, suite)
    else:
        verdict, detail = _returned(frame, outcome, test.want, suite)
    return Result(verdict, detail, outcome.seconds, outcome.cpu_s, outcome.tier)


def _job(request: Mapping[str, Any], suite: Suite, place: Sandboxed, program: str, stdin: bytes = b"") -> Job:
    full = {**request, "program": program, "contest_names": suite.contest_names}
    return Job(full, suite.limits, stdin, place.packages)


def _printed(frame: bytes | None, outcome: Outcome, want: bytes, suite: Suite) -> tuple[str, str]:
    """The verdict on a script: it must end by itself, with status 0, and have printed what is expected."""
    if outcome.end != "exit" or outcome.signal is not None:
        return _stopped(outcome, suite.limits)
    if outcome.status != 0:
        # A script's only frame has its exception. A forged frame can change the detail, but never makes a pass.
        status, _, text = _read(frame) if frame is not None else ("", None, "")
        return ("memory", "out of memory") if status == "memory" else ("fail", text or f"exit status {outcome.status}")
    if same_output(outcome.stdout, want, suite.rules):
        return "pass", ""
    return "fail", f"printed {_short(outcome.stdout)}, not {_short(want)}"


def _returned(frame: bytes | None, outcome: Outcome, accepted: tuple[Tree, ...], suite: Suite) -> tuple[str, str]:
    """The verdict on a function. The candidate may have written the frame, so nothing in it is trusted."""
    if frame is None or outcome.end in _LIMITED:
        return _stopped(outcome, suite.limits)
    status, value, detail = _read(frame)
    if status != "value":
        return ("memory", "out of memory") if status == "memory" else ("fail", detail)
    try:
        if any(same_value(value, want, suite.rules) for want in accepted):
            return "pass", ""
    except BadValue:
        return "fail", "a result that cannot be read"
    return "fail", f"returned {show(value)}, not {' or '.join(map(show, accepted))}"


def _stopped(outcome: Outcome, limits: Limits) -> tuple[str, str]:
    """The verdict on a job that ended without a result."""
    if outcome.end in _ENDS:
        words = {
            "timeout": f"no result within {limits.wall_s:g} s, or {limits.cpu_s:g} s of CPU",
            "memory": f"more than {limits.memory_mb:g} MiB of memory",
            "output": f"more than {limits.output_kb:g} KiB of output",
            "disk": f"more than {limits.disk_mb:g} MiB of files",
            "killed": "the program was killed",
        }
        return _ENDS[outcome.end], outcome.detail or words[outcome.end]
    if outcome.signal is not None:
        return "killed", outcome.detail or f"ended by signal {outcome.signal}"
    return "fail", f"exited with status {outcome.status} before it returned"


def _read(frame: bytes) -> tuple[str, Tree, str]:
    """(status, value, detail) of a frame that the candidate may have written; status "" if it cannot be read."""
    try:
        message = read_frame(frame)
    except BadValue as e:
        return "", None, str(e)
    status, detail = message.get("status"), message.get("detail")
    text = _plain(detail) if isinstance(detail, str) else "a result that cannot be read"
    return (status if isinstance(status, str) else ""), message.get("value"), text


def _run_relayed(test: Test, program: str, suite: Suite, place: Sandboxed) -> Result:
    """Runs test code in one sandbox and the program in another, and carries calls and values between them."""
    token = secrets.token_hex(16)
    with lease(place.tier, place.packages) as sandbox, lease(place.tier, place.packages) as other:
        candidate = sandbox.start(_job({"mode": "serve"}, suite, place, program))
        try:
            verdict = _first_frame(candidate, suite.limits)
            if verdict is None:
                tester = other.start(Job({**test.request, "token": token}, suite.limits, packages=place.packages))
                verdict = _relay(candidate, tester, suite.limits, token)
        finally:
            outcome = candidate.finish()
    if verdict[0] == "pass" and outcome.end in _LIMITED:
        verdict = _stopped(outcome, suite.limits)
    # Raised outside of `lease`, where an exception means that the sandbox is broken.
    if verdict[0] == _UNFIT:
        raise Malformed(verdict[1])
    return Result(*verdict, outcome.seconds, outcome.cpu_s, outcome.tier)


def _first_frame(candidate: Running, limits: Limits) -> tuple[str, str] | None:
    """The verdict on a program that does not load; None if it has loaded and waits for calls."""
    frame = candidate.receive()
    if frame is None:
        return _stopped(candidate.finish(), limits)
    status, _, detail = _read(frame)
    if status == "ready":
        return None
    return ("memory", "out of memory") if status == "memory" else ("fail", detail)


def _relay(candidate: Running, tester: Running, limits: Limits, token: str) -> tuple[str, str]:
    """Carries frames until the test code ends or one side stops: (verdict, detail)."""
    try:
        while (frame := tester.receive()) is not None:
            try:
                message = read_frame(frame)
            except BadValue as e:
                return "fail", f"the test code sent {e}"
            if "status" in message:
                return _tested(message, token)
            candidate.send(frame)
            reply = candidate.receive()
            if reply is None:
                return _stopped(candidate.finish(), limits)
            status, value, detail = _read(reply)
            if status == "memory":
                return "memory", "out of memory"
            tester.send(write_frame(_answer(status, value, detail, reply)))
        return _stopped(tester.finish(), limits)
    finally:
        tester.finish()


def _answer(status: str, value: Tree, detail: str, reply: bytes) -> dict[str, Any]:
    """The part of a candidate's reply that the tester sees: a value, or an exception's name and text."""
    if status == "value":
        return {"status": "value", "value": value}
    name = read_frame(reply).get("type") if status == "error" else ""
    return {"status": "error", "type": name if isinstance(name, str) else "", "detail": detail}


def _tested(message: Mapping[str, Any], token: str) -> tuple[str, str]:
    """The verdict in the tester's last frame."""
    status, detail = message["status"], _plain(str(message.get("detail", "")))
    if status == _UNFIT:
        return _UNFIT, detail
    if status == "memory":
        return "memory", "out of memory"
    if status == "done" and message.get("token") == token:
        return "pass", ""
    return "fail", detail or "the tests did not come to their end"


def _plain(text: str) -> str:
    """A program's text made safe for a log or a table: one line, without control characters and surrogates."""
    return "".join(c if c.isprintable() else " " for c in text[:_MAX_DETAIL])


def _short(output: bytes) -> str:
    text = repr(output[: 2 * _SHOWN].decode(errors="replace"))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def show(tree: Tree) -> str:
    """A tree as short Python text, whatever its size: ["t", 1, "a"] -> "(1, 'a')"."""
    return _show(tree, 0)[:_SHOWN]


def _show(tree: Tree, depth: int) -> str:
    """As `show`, at a depth."""
    if not isinstance(tree, list):
        return repr(tree[:_SHOWN] if isinstance(tree, str) else tree)
    tag, body = tree[0], tree[1:]
    if tag in ("i", "B") and body and isinstance(body[0], str):
        return f"{'an integer' if tag == 'i' else 'bytes'} {body[0][:_SHOWN]}"
    if depth > _SHOWN_DEPTH:
        return "..."
    items = [_show(item, depth + 1) for item in body[:_SHOWN_ITEMS]] + (["..."] if len(body) > _SHOWN_ITEMS else [])
    if tag in ("d", "C", "O"):
        return "{" + ", ".join(f"{k}: {v}" for k, v in zip(items[::2], items[1::2], strict=False)) + "}"
    brackets = {"l": "[]", "S": "{}", "F": "{}"}.get(str(tag), "()")
    return brackets[0] + ", ".join(items) + brackets[1]
