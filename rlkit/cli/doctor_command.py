"""`rlkit doctor`: checks this machine."""

from __future__ import annotations

import argparse
import json

from rlkit.cli.command import Command


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def _doctor(args: argparse.Namespace) -> int:
    """Prints the findings. Returns 1 if no sandbox tier works here."""
    from rlkit.plan.doctor import as_text, examine_machine

    found = examine_machine()
    print(json.dumps(found, indent=2) if args.json else as_text(found))
    return 0 if found["sandbox"]["tier"] else 1


DOCTOR = Command("Check packages, resources and sandbox of this machine, with advice.", _configure, _doctor)
