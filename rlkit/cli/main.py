"""The `rlkit` command: selects the subcommand and prints errors."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import traceback
from collections.abc import Collection, Sequence

from rlkit import __version__
from rlkit.cli import completion
from rlkit.cli.command import Command, CommandFamily
from rlkit.cli.doctor_command import DOCTOR
from rlkit.cli.plan_command import PLAN
from rlkit.cli.reward_command import REWARD
from rlkit.cli.train_command import TRAIN
from rlkit.cli.usage import Parser
from rlkit.cli.verify_command import VERIFY
from rlkit.errors import RlkitError, Stopped, UsageError, did_you_mean


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 failed, 2 wrong use, 130 stopped by the user."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words and words[0] in ("-V", "--version"):
            print(f"rlkit {__version__}")
            return 0
        return _dispatch("rlkit", RLKIT, words)
    except SystemExit as e:  # argparse, after --help
        return e.code if isinstance(e.code, int) else 2
    except (KeyboardInterrupt, Stopped) as e:
        print(f"rlkit: {str(e) or 'stopped as you asked'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `rlkit plan ... | head`: the reader has exited
        # Without this, Python would raise again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except RlkitError as e:
        return _report(words, str(e), e.exit_code)
    except OSError as e:
        if e.errno != errno.ENOSPC or e.filename is not None:
            return _report_bug(words, e)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _report(words, f"the output cannot be written: {e.strerror}", 1)
    except Exception as e:  # a bug in rlkit: print one sentence, and the traceback only with --debug
        return _report_bug(words, e)


def _report_bug(words: Sequence[str], error: Exception) -> int:
    what = " ".join(str(error).split())
    sentence = f"{type(error).__name__}: {what}" if what else type(error).__name__
    return _report(words, f"{sentence} (a bug in rlkit; run again with --debug for the traceback)", 1)


def _report(words: Sequence[str], message: str, code: int) -> int:
    if "--debug" in words:
        traceback.print_exc()
    sys.stdout.flush()
    for line in message.splitlines() or [""]:
        print(f"rlkit: error: {line}", file=sys.stderr)
    return code


def _dispatch(prog: str, family: CommandFamily, words: list[str]) -> int:
    if not words:
        print(_overview(prog, family), file=sys.stderr)
        return 2
    if words[0] in ("-h", "--help"):
        print(_overview(prog, family))
        return 0
    member = family.members.get(words[0])
    if member is None:
        known = [*family.members, "--help", *(["--version"] if family is RLKIT else [])]
        what = "option" if words[0].startswith("-") else "command"
        raise UsageError(f"unknown {what} {words[0]!r}{_hint(words[0], known)} (see {prog} --help)")
    if isinstance(member, CommandFamily):
        return _dispatch(f"{prog} {words[0]}", member, words[1:])
    return _run_command(f"{prog} {words[0]}", member, words[1:])


def _run_command(prog: str, command: Command, words: list[str]) -> int:
    parser = Parser(prog=prog, description=command.summary, allow_abbrev=False)
    command.configure(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    args, unknown = parser.parse_known_intermixed_args(words)
    if unknown:
        raise UsageError(f"{_unknown_word(parser, unknown[0])} (see {parser.prog} --help)")
    return command.run(args)


def _unknown_word(parser: argparse.ArgumentParser, word: str) -> str:
    if not word.startswith("-"):
        return f"unexpected argument {word!r}"
    options = sorted(o for action in parser._actions for o in action.option_strings if o.startswith("--"))
    flag = word.split("=")[0]
    if "." in flag and "=" in word:
        return f"unknown option {flag!r}; write an override without dashes: {word.lstrip('-')}"
    return f"unknown option {flag!r}{_hint(flag, options)}"


def _hint(word: str, known: Collection[str]) -> str:
    return did_you_mean(word, known, cutoff=0.5) or f"; known: {', '.join(known)}"


def _overview(prog: str, family: CommandFamily) -> str:
    width = max(len(name) for name in family.members)
    lines = [f"  {name:<{width}}  {member.summary}" for name, member in family.members.items()]
    version = "\n  -V, --version  show the version" if family is RLKIT else ""
    return (
        f"usage: {prog} COMMAND ...\n\n{family.summary}\n\n"
        "commands:\n" + "\n".join(lines) + "\n\n"
        f"options:\n  -h, --help     show this help; after a command, show its arguments{version}\n\n"
        "exit codes: 0 done, 1 the run failed, 2 wrong use, 130 stopped by you with the state saved"
    )


def _completion(args: argparse.Namespace) -> int:
    print(completion.write_script(args.shell, RLKIT), end="")
    return 0


RLKIT = CommandFamily(
    "Reinforcement-learning fine-tuning of language models on answers that can be checked.",
    {
        "train": TRAIN,
        "plan": PLAN,
        "verify": VERIFY,
        "reward": REWARD,
        "completion": Command(
            "Print a script that completes commands, options and recipe keys in a shell.",
            completion.configure,
            _completion,
        ),
        "doctor": DOCTOR,
    },
)
