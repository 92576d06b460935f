"""The judging process: one row in, one verdict out, over its own stdin and stdout; `math.py` starts and kills it.

Messages are a 4-byte length and JSON. In: {"gold", "answer", "cpu_s"}. Out: {"phase": "ready"}, then for each row
{"phase": "answer"} once the gold is read, and {"verdict", "detail"}. Only text that passed `checks.refusal` is parsed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import select
import struct
import sys
import threading
from functools import lru_cache
from typing import Any

MAX_MESSAGE = 1 << 20
_TEXT = re.compile(r"[A-Za-z][A-Za-z .,'\-]*")


def send(fd: int, message: dict[str, Any]) -> None:
    """Writes one message.

    Raises:
        OSError: the other side is gone.
    """
    data = json.dumps(message).encode()
    data = struct.pack("!I", len(data)) + data
    while data:
        data = data[os.write(fd, data) :]


def _read_exactly(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = os.read(fd, size - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def _receive(fd: int) -> dict[str, Any]:
    (size,) = struct.unpack("!I", _read_exactly(fd, 4))
    if size > MAX_MESSAGE:
        raise EOFError
    message: dict[str, Any] = json.loads(_read_exactly(fd, size))
    return message


def _die_with_parent(fd: int) -> None:
    """Ends this process when the other end of its input closes, even in the middle of a row.

    Not PR_SET_PDEATHSIG: that fires when the *thread* that started this process ends.
    """
    poll = select.poll()
    poll.register(fd, 0)
    poll.poll()
    os._exit(0)


def plain_text(text: str) -> str | None:
    r"""The words of a text answer such as \text{Alice}, "odd" or (B), in one spelling; None for mathematics."""
    wrapped = re.fullmatch(r"\\(?:text|textbf|mathrm|textit) ?\{([^{}]*)\}", text)
    words = (wrapped[1] if wrapped else text).strip().strip(".")
    if lone := re.fullmatch(r"\(([A-Za-z])\)", words):
        words = lone[1]
    if not _TEXT.fullmatch(words) and not wrapped:
        return None
    if not wrapped and len(words) > 1 and not re.search("[A-Za-z]{3}", words):
        return None
    return " ".join(words.casefold().split())


@lru_cache(maxsize=4096)
def _gold(text: str) -> Any:
    from rlkit.verify.parse import parse

    return parse(text)


def judge(gold: str, answer: str, fd: int) -> tuple[str, str]:
    """(verdict, detail) of two normalised texts; says on `fd` when it has read the gold.

    Raises:
        MemoryError: the limit was reached; this process should be replaced.
    """
    from rlkit.verify.equal import equal
    from rlkit.verify.parse import Unparsable, parse

    words, other = plain_text(gold), plain_text(answer)
    # Words are never multiplied out: "listen" and "silent" are not the same product.
    if words is not None and other is not None:
        return ("correct", "same text") if words == other else ("wrong", "other text")
    try:
        tree = _gold(gold)
    except (Unparsable, RecursionError) as e:
        if words is None:
            return "unscored", f"the gold cannot be read: {e}"
        return "wrong", "other text"
    send(fd, {"phase": "answer"})
    try:
        prediction = parse(answer)
    except (Unparsable, RecursionError):
        return "wrong", "unparsable" if other is None else "other text"
    try:
        same = equal(tree, prediction)
    except MemoryError:
        raise
    # sympy raises many things on odd expressions; none of them shows that the two are equal.
    except Exception as e:
        return "wrong", f"not shown equal ({type(e).__name__})"
    return ("correct", "equal") if same else ("wrong", "not equal")


def main(memory_mb: int) -> None:
    """Serves rows until its input closes."""
    inp, out = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    threading.Thread(target=_die_with_parent, args=(inp,), daemon=True).start()
    # The imports come before the limit on time and inside the limit on memory.
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import rlkit.verify.equal  # noqa: F401

    send(out, {"phase": "ready"})
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            row = _receive(inp)
            used = resource.getrusage(resource.RUSAGE_SELF)
            seconds = int(used.ru_utime + used.ru_stime + row["cpu_s"]) + 2
            hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard))
            try:
                verdict, detail = judge(row["gold"], row["answer"], out)
            except MemoryError:
                send(out, {"memory": True})
                os._exit(1)
            send(out, {"verdict": verdict, "detail": detail})


if __name__ == "__main__":
    main(int(sys.argv[1]))
