"""An argparse parser whose errors become one sentence with the correct usage."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from rlkit.errors import UsageError

RECIPE_WORDS = "RECIPE [KEY=VALUE ...]"


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises `UsageError`."""

    def error(self, message: str) -> NoReturn:
        """Raises argparse's error as a UsageError with a clearer message."""
        see = f"(see {self.prog} --help)"
        if missing := re.match(r"the following arguments are required: (.*)", message):
            raise UsageError(f"{self.prog} needs {self._missing(missing[1].split(', '))} {see}")
        if bad := re.match(r"argument ([^:\s]+)[^:]*: (.*)", message):
            raise UsageError(f"{self._bad_value(bad[1], bad[2])} {see}")
        raise UsageError(f"{message} {see}")

    def _missing(self, names: list[str]) -> str:
        actions = [self._action(name) for name in names]
        described = [
            f"{name}, {action.help}" if action is not None and not action.option_strings else name
            for name, action in zip(names, actions, strict=True)
        ]
        needed = " and ".join([", ".join(described[:-1]), described[-1]] if len(described) > 1 else described)
        return f"{needed}: {self.prog} {RECIPE_WORDS}" if names == ["RECIPE"] else needed

    def _bad_value(self, name: str, problem: str) -> str:
        action = self._action(name.split("/")[-1])
        if action is None:
            return f"argument {name}: {problem}"
        if "expected" in problem:
            choices = " or ".join(map(str, action.choices or ()))
            return f"{name} needs a value: {choices or action.metavar or action.dest}"
        if given := re.match(r"invalid choice: (\S+) ", problem):
            return f"{name} {given[1]}: must be one of {', '.join(map(str, action.choices or ()))}"
        if given := re.match(r"invalid (int|float) value: (.*)", problem):
            return f"{name} {given[2]}: must be a {'whole ' if given[1] == 'int' else ''}number"
        return f"{name}: {problem}"

    def _action(self, name: str) -> argparse.Action | None:
        return next((a for a in self._actions if name in (*a.option_strings, a.metavar, a.dest)), None)
