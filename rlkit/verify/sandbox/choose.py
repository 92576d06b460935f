"""Which tier holds on this machine: the best one whose self-test does, tried once a process."""

from __future__ import annotations

import importlib.util
import threading
from dataclasses import dataclass
from typing import Literal

from rlkit.verify.sandbox.advice import advice
from rlkit.verify.sandbox.job import Sandbox, SandboxError, Tier
from rlkit.verify.sandbox.selftest import ProbeResult, self_test
from rlkit.verify.sandbox.zygote_client import ZygoteSandbox

SAFE_TIERS: tuple[Tier, ...] = ("namespaces", "landlock", "wasm")
"""Best first."""


@dataclass(frozen=True)
class TierReport:
    """Whether one tier holds here."""

    tier: Tier
    holds: bool
    probes: tuple[ProbeResult, ...] = ()
    """What its self-test tried; empty where the tier did not start."""
    reason: str = ""
    """Why it does not hold."""
    advice: str = ""
    """What to enable so that it does."""


_reports: dict[Tier, TierReport] = {}
_lock = threading.Lock()


def examine(tier: Tier) -> TierReport:
    """Runs a tier's self-test, or repeats what it said: under a second, once a process."""
    with _lock:
        if tier not in _reports:
            _reports[tier] = _examine(tier)
        return _reports[tier]


def best_tier() -> Tier:
    """The first of SAFE_TIERS that holds.

    Raises:
        SandboxError: none does; it says why, and what to enable.
    """
    for tier in SAFE_TIERS:
        if examine(tier).holds:
            return tier
    reasons = "; ".join(f"{tier}: {r.reason} ({r.advice})" for tier in SAFE_TIERS if (r := examine(tier)))
    raise SandboxError(f"no sandbox holds on this machine; see `rlkit doctor`. {reasons}")


def open_sandbox(tier: Tier | Literal["auto"]) -> Sandbox:
    """A new sandbox, of the best tier that holds here, or of the one named; "unsafe_none" is only ever named.

    Raises:
        SandboxError: it does not hold here.
    """
    chosen = best_tier() if tier == "auto" else tier
    if chosen != "unsafe_none" and not (report := examine(chosen)).holds:
        raise SandboxError(f"the sandbox tier {chosen} does not hold here: {report.reason} ({report.advice})")
    return _open(chosen)


def _examine(tier: Tier) -> TierReport:
    """Starts a sandbox of the tier and attacks it."""
    sandbox = None
    try:
        sandbox = _open(tier)
        probes = tuple(self_test(sandbox))
    except SandboxError as e:
        return TierReport(tier, holds=False, reason=str(e), advice=advice(tier, str(e)))
    finally:
        if sandbox is not None:
            sandbox.close()
    failed = [f"{probe.name}: {probe.detail}" for probe in probes if not probe.held]
    reason = "; ".join(failed)
    return TierReport(tier, not failed, probes, reason, advice(tier, reason) if failed else "")


def _open(tier: Tier) -> Sandbox:
    """A new sandbox of a tier."""
    if tier != "wasm":
        return ZygoteSandbox(tier)
    if importlib.util.find_spec("wasmtime") is None:
        raise SandboxError("the package wasmtime is not installed")
    from rlkit.verify.sandbox.wasm.wasm_client import WasmSandbox

    return WasmSandbox()
