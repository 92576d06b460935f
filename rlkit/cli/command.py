"""What follows the word `rlkit`: a command, or a family of them whose next word says which."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """Something that is done."""

    summary: str
    """One line for the help above it."""
    configure: Callable[[argparse.ArgumentParser], None]
    """Adds the command's arguments."""
    run: Callable[[argparse.Namespace], int]
    """Does it; returns the exit code."""


@dataclass(frozen=True)
class CommandFamily:
    """Commands under one word, each with options of its own."""

    summary: str
    """As Command's."""
    members: Mapping[str, Command | CommandFamily]
    """By the next word."""
