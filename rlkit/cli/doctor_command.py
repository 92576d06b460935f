"""`rlkit doctor`: says what this machine can do."""

from __future__ import annotations

import argparse
import json

from rlkit.cli.command import Command


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def _doctor(args: argparse.Namespace) -> int:
    """Prints the findings; 1 where programs cannot be run safely here."""
    from rlkit.plan.doctor import as_text, examine_machine

    found = examine_machine()
    print(json.dumps(found, indent=2) if args.json else as_text(found))
    return 0 if found["sandbox"]["tier"] else 1


DOCTOR = Command("Say what this machine can do, and what to enable where it cannot.", _configure, _doctor)
