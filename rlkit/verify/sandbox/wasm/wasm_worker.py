"""A process that runs WebAssembly jobs, each in a fresh instance of the component; started by `wasm_client`."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import socket
import sys
import tempfile
import threading
import time
from typing import Any

import wasmtime
from wasmtime.component import Component, Linker

from rlkit.verify.sandbox.job import SandboxError
from rlkit.verify.sandbox.wasm.build import MAX_TABLE_ELEMENTS, built_component, make_engine
from rlkit.verify.sandbox.wasm.wasm_messages import END, FRAME, JOB, READY, REFUSED, Messages

_NOBODY = 65534
_PR_SET_NO_NEW_PRIVS = 38
_TICK_S = 0.02
"""How often a guest's limits are checked."""
_NEVER = float("inf")
_FAR = 1 << 40
"""Ticks of the engine's clock that never pass: an instance without a job is not interrupted."""


def main() -> None:
    """Runs jobs until the socket, which is descriptor 0, closes."""
    messages = Messages(socket.socket(fileno=os.dup(0)))
    try:
        worker = _WasmWorker(messages)
    except SandboxError as e:
        return messages.send(REFUSED, str(e).encode())
    _give_up_root()
    messages.send(READY, b"")
    while True:
        kind, body = messages.receive()
        if kind == JOB:
            head, _, request = body.partition(b"\n")
            worker.run(json.loads(head), request.decode())


def _give_up_root() -> None:
    """Gives up root, in case the runtime has a fault. After this, nothing new can be imported."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


class _WasmWorker:
    """An engine with the component loaded, and a thread that interrupts guests at their limits."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._engine = make_engine()
        self._component = Component.deserialize_file(self._engine, str(built_component()))
        self._linker = Linker(self._engine)
        self._linker.add_wasip2()
        with self._linker.root() as root:
            root.add_func("send", lambda _store, frame: self._send(frame))
            root.add_func("receive", lambda _store: self._receive())
        self._lock = threading.Lock()
        self._end = ""
        self._deadline = self._cpu_deadline = _NEVER
        self._bound = self._sent = 0
        self._next = self._instantiate()
        threading.Thread(target=self._watch, daemon=True).start()

    def run(self, job: dict[str, Any], request: str) -> None:
        """Runs one job and sends how it ended; then makes the next instance, while the judge reads the result."""
        store, guest = self._next
        limits: dict[str, float] = job["limits"]
        output = bytearray()

        def write(chunk: bytes) -> int:
            if len(output) <= self._bound:
                output.extend(chunk)
            else:
                self._interrupt("output")
            return len(chunk)

        start = time.process_time()
        store.set_limits(memory_size=int(limits["memory_mb"] * 2**20), table_elements=MAX_TABLE_ELEMENTS)
        store.set_wasi(_wasi(base64.b64decode(job["stdin"]), write))
        with self._lock:
            self._end, self._sent, self._bound = "", 0, int(limits["output_kb"] * 1024)
            store.set_epoch_deadline(1)
            self._deadline = time.monotonic() + limits["wall_s"]
            self._cpu_deadline = start + limits["cpu_s"]
        status, detail = self._call(store, guest, request)
        with self._lock:
            self._deadline = self._cpu_deadline = _NEVER
        end = "output" if len(output) > self._bound else self._end or ("killed" if status is None else "exit")
        ended = {
            "end": end,
            "status": status if end == "exit" else None,
            "detail": detail if end == "killed" else "",
            "cpu_s": time.process_time() - start,
        }
        self._messages.send(END, json.dumps(ended).encode() + b"\n" + output)
        store.close()
        self._next = self._instantiate()

    def _instantiate(self) -> tuple[Any, Any]:
        """A store with a fresh instance in it, and the instance's function; nothing of the guest has run yet."""
        store = wasmtime.Store(self._engine)
        store.set_wasi(wasmtime.WasiConfig())
        store.set_epoch_deadline(_FAR)
        guest = self._linker.instantiate(store, self._component).get_func(store, "run")
        assert guest is not None
        return store, guest

    def _call(self, store: Any, guest: Any, request: str) -> tuple[int | None, str]:
        """(exit status, what went wrong); the status is None where the guest was stopped."""
        try:
            return int(guest(store, request)), ""
        except wasmtime.ExitTrap as e:
            return e.code, ""
        except (wasmtime.Trap, wasmtime.WasmtimeError) as e:
            last_line = str(e).strip().splitlines()[-1].strip()[:200]
            # wasmtime's own bound on what one call may copy to us.
            self._end = self._end or ("output" if "hostcalls" in last_line else "")
            return None, last_line

    def _send(self, frame: str) -> None:
        self._sent += len(frame)
        if self._sent > self._bound:
            return self._interrupt("output")
        return self._messages.send(FRAME, frame.encode())

    def _receive(self) -> str | None:
        kind, body = self._messages.receive()
        return body.decode("ascii", "replace") if kind == FRAME else None

    def _interrupt(self, end: str) -> None:
        """Stops the guest at its next loop or call."""
        self._end = self._end or end
        self._engine.increment_epoch()

    def _watch(self) -> None:
        while True:
            time.sleep(_TICK_S)
            with self._lock:
                if time.monotonic() > self._deadline or time.process_time() > self._cpu_deadline:
                    self._interrupt("timeout")


def _wasi(stdin: bytes, write: Any) -> Any:
    """The guest's system interface: standard input and output, and nothing else."""
    wasi = wasmtime.WasiConfig()
    wasi.stdout_custom = write
    if stdin:
        with tempfile.NamedTemporaryFile() as file:
            file.write(stdin)
            file.flush()
            # wasmtime opens the file at once, so its name may be removed at the end of this block.
            wasi.stdin_file = file.name
    return wasi


if __name__ == "__main__":
    with contextlib.suppress(EOFError, OSError):
        main()
