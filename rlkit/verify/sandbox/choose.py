"""Chooses the sandbox tier: the best one whose self-test passes on this machine. Tests each once per process."""

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
    """Whether one tier works here."""

    tier: Tier
    holds: bool
    probes: tuple[ProbeResult, ...] = ()
    """Results of its self-test; empty if the tier did not start."""
    reason: str = ""
    """Why it does not work; "" if it does."""
    advice: str = ""
    """How to enable it."""


_reports: dict[Tier, TierReport] = {}
_lock = threading.Lock()


def examine(tier: Tier) -> TierReport:
    """The result of a tier's self-test, which takes less than a second and runs once per process."""
    with _lock:
        if tier not in _reports:
            _reports[tier] = _examine(tier)
        return _reports[tier]


def best_tier() -> Tier:
    """The first of SAFE_TIERS that works here.

    Raises:
        SandboxError: none does; the message states why, and what to enable.
    """
    for tier in SAFE_TIERS:
        if examine(tier).holds:
            return tier
    reasons = "; ".join(f"{tier}: {r.reason} ({r.advice})" for tier in SAFE_TIERS if (r := examine(tier)))
    raise SandboxError(f"no sandbox holds on this machine; see `rlkit doctor`. {reasons}")


def open_sandbox(tier: Tier | Literal["auto"]) -> Sandbox:
    """A new sandbox of the best tier that works here, or of the given one. "unsafe_none" must be asked for by name.

    Raises:
        SandboxError: the tier does not work here.
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
