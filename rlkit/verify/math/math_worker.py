"""The judging process: one row in, one verdict out, over its own stdin and stdout.

`math_process` starts it and kills it.

Messages are a 4-byte length and JSON. In: {"gold", "answer", "options", "cpu_s"}. Out: {"phase": "ready"}, then for
each row {"phase": "answer"} once the gold is read, and {"verdict", "detail"}.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import struct
import sys
import threading
from typing import Any

MAX_MESSAGE = 1 << 20
"""Bytes of the longest message."""
_SPARE_CPU_S = 2
"""CPU seconds beyond a row's own before the kernel ends the process: the limit counts whole seconds."""


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


def judge(row: dict[str, Any], fd: int) -> tuple[str, str]:
    """(verdict, detail) of a row; signals on `fd` when it has read the gold.

    Raises:
        MemoryError: the limit was reached; this process should be replaced.
    """
    from rlkit.verify.math.verdict import Options, judge_texts

    read = [False]

    def gold_is_read() -> None:
        if not read[0]:
            send(fd, {"phase": "answer"})
        read[0] = True

    try:
        return judge_texts(row["gold"], row["answer"], Options(**row["options"]), gold_is_read)
    except MemoryError:
        raise
    # A model's text reaches mpmath and sympy here; if they raise anything, equality was not shown.
    except Exception as e:
        return (
            ("wrong", f"not shown equal ({type(e).__name__})")
            if read[0]
            else ("unscored", f"the gold cannot be read: {type(e).__name__}")
        )


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
    import sympy  # noqa: F401

    import rlkit.verify.math.verdict  # noqa: F401

    send(out, {"phase": "ready"})
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            row = _receive(inp)
            used = resource.getrusage(resource.RUSAGE_SELF)
            seconds = int(used.ru_utime + used.ru_stime + row["cpu_s"]) + _SPARE_CPU_S
            hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard))
            try:
                verdict, detail = judge(row, out)
            except MemoryError:
                send(out, {"memory": True})
                os._exit(1)
            send(out, {"verdict": verdict, "detail": detail})


if __name__ == "__main__":
    main(int(sys.argv[1]))
