"""Types of subcommands: a command, or a family of commands such as `rlkit reward score|test|new`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One command."""

    summary: str
    """One line for the help."""
    configure: Callable[[argparse.ArgumentParser], None]
    """Adds the command's arguments to a parser."""
    run: Callable[[argparse.Namespace], int]
    """Runs the command and returns the exit code."""


@dataclass(frozen=True)
class CommandFamily:
    """A group of commands, each with its own options."""

    summary: str
    """One line for the help."""
    members: Mapping[str, Command | CommandFamily]
    """The commands by name."""
