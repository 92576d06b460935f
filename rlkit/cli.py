"""The `rlkit` command. A recipe is checked before anything heavy (torch, ray, vllm) is imported."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rlkit import __version__, completion, reward_cli, verify_cli
from rlkit.command import Command, Family
from rlkit.errors import RlkitError, Stopped, UsageError, did_you_mean
from rlkit.jobs import job_address
from rlkit.usage import RECIPE_WORDS, Parser, check_recipe_words

if TYPE_CHECKING:
    from rlkit.recipe.load import LoadedRecipe


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
    except BrokenPipeError:  # `rlkit plan ... | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except RlkitError as e:
        return _report(words, str(e), e.exit_code)
    except OSError as e:
        if e.errno != errno.ENOSPC or e.filename is not None:
            return _defect(words, e)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _report(words, f"the output cannot be written: {e.strerror}", 1)
    except Exception as e:  # a defect of ours: still one sentence, the rest on demand
        return _defect(words, e)


def _defect(words: Sequence[str], error: Exception) -> int:
    what = " ".join(str(error).split())
    sentence = f"{type(error).__name__}: {what}" if what else type(error).__name__
    return _report(words, f"{sentence} (a defect of rlkit; run again with --debug for the traceback)", 1)


def _report(words: Sequence[str], message: str, code: int) -> int:
    if "--debug" in words:
        traceback.print_exc()
    sys.stdout.flush()
    for line in message.splitlines() or [""]:
        print(f"rlkit: error: {line}", file=sys.stderr)
    return code


def _dispatch(prog: str, family: Family, words: list[str]) -> int:
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
    if isinstance(member, Family):
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
        return f"unknown option {flag!r}; an override takes no dashes: {word.lstrip('-')}"
    return f"unknown option {flag!r}{_hint(flag, options)}"


def _hint(word: str, known: Collection[str]) -> str:
    return did_you_mean(word, known, cutoff=0.5) or f"; there is {', '.join(known)}"


def _overview(prog: str, family: Family) -> str:
    width = max(len(name) for name in family.members)
    lines = [f"  {name:<{width}}  {member.summary}" for name, member in family.members.items()]
    version = "\n  -V, --version  the version" if family is RLKIT else ""
    return (
        f"usage: {prog} COMMAND ...\n\n{family.summary}\n\n"
        "commands:\n" + "\n".join(lines) + "\n\n"
        f"options:\n  -h, --help     this text; after a command, its arguments{version}\n\n"
        "exit codes: 0 done, 1 the run failed, 2 wrong use, 130 stopped by you with its state saved"
    )


def _add_recipe(parser: argparse.ArgumentParser, required: bool = True) -> None:
    parser.add_argument("recipe", metavar="RECIPE", nargs=None if required else "?", help="a YAML file")
    parser.add_argument(
        "overrides",
        metavar="KEY=VALUE",
        nargs="*",
        default=[],
        help="overrides by dotted path, such as stages.1.steps=5",
    )
    parser.set_defaults(prog=parser.prog)


def _load(args: argparse.Namespace) -> LoadedRecipe:
    from rlkit.recipe.load import load_recipe

    check_recipe_words(args.prog, args.recipe, args.overrides)
    return load_recipe(Path(args.recipe), args.overrides)


def _run_dir(args: argparse.Namespace, loaded: LoadedRecipe) -> Path:
    run = loaded.recipe.run
    return Path(args.run_dir) if getattr(args, "run_dir", None) else Path(run.dir) / run.name


def _address(args: argparse.Namespace, loaded: LoadedRecipe) -> str | None:
    """The Ray cluster: the command's, else the recipe's, else the one whose job this is."""
    return getattr(args, "address", None) or loaded.recipe.cluster.address or job_address()


def _configure_train(parser: argparse.ArgumentParser) -> None:
    _add_recipe(parser)
    parser.add_argument("--run-dir", metavar="DIR", help="the run's folder (default: <run.dir>/<run.name>)")
    parser.add_argument(
        "--resume",
        choices=("auto", "must", "never"),
        default="auto",
        help="auto: continue an unfinished run, else start; must: only continue; never: only start anew",
    )
    parser.add_argument("--address", metavar="RAY", help="a Ray cluster (auto, host:6379), as cluster.address")
    parser.add_argument(
        "--allow",
        metavar="KEY",
        action="append",
        default=[],
        help="continue although this key (or section, or code.PART) differs from the run's start; may be repeated",
    )


def _train(args: argparse.Namespace) -> int:
    loaded = _load(args)
    run_dir, address = _run_dir(args, loaded), _address(args, loaded)
    from rlkit.checks import check_run

    checked = check_run(loaded, run_dir=run_dir, address=address, read_all=True)
    if checked.data is None:
        raise UsageError("\n".join(checked.plan.refusals))
    for note in checked.notes:
        print(f"note: {note}")
    run_recipe = _import_run()
    return run_recipe(
        loaded,
        recipe=checked.plan.recipe,
        data=checked.data,
        run_dir=run_dir,
        resume=args.resume,
        address=address,
        allow=args.allow,
    )


def _import_run() -> Callable[..., int]:
    """`rlkit.run.run_recipe`. What it imports takes seconds; Ctrl-C in them leaves at once, as nothing has begun.

    An exception would be raised inside of a library, some of which take it for a failed import.
    """
    from rlkit.report import Report
    from rlkit.stop import StopSignal

    report = Report()

    def leave() -> NoReturn:
        report.clear_live_line()
        print("rlkit: stopped as you asked before the run began", file=sys.__stderr__, flush=True)
        os._exit(Stopped.exit_code)

    stop = StopSignal(leave)
    with stop.installed(), report.waiting("loading PyTorch and Ray"), stop.deferred():
        from rlkit.run import run_recipe
    return run_recipe


def _configure_plan(parser: argparse.ArgumentParser) -> None:
    _add_recipe(parser, required=False)
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.add_argument(
        "--deep", action="store_true", help="also open the tokenizer and ask vLLM, as train does (about 20 seconds)"
    )
    parser.add_argument("--schema", action="store_true", help="print the recipe's JSON Schema, for editors")


def _plan(args: argparse.Namespace) -> int:
    if args.schema:
        import json

        from rlkit.recipe.schema import Recipe

        print(json.dumps(Recipe.model_json_schema(), indent=2))
        return 0
    if args.recipe is None:
        raise UsageError(f"{args.prog} needs RECIPE, a YAML file: {args.prog} {RECIPE_WORDS} (see {args.prog} --help)")
    loaded = _load(args)
    from rlkit.checks import check_run

    address = _address(args, loaded)
    checked = check_run(loaded, run_dir=_run_dir(args, loaded), address=address, read_all=args.deep)
    plan, notes = checked.plan, checked.notes
    if args.deep and checked.data is not None:
        from rlkit.deep_checks import check_deeply

        notes = (*notes, *check_deeply(plan.recipe, checked.data))
    plan = replace(plan, notes=(*plan.notes, *notes))
    if args.json:
        print(plan.to_json())
    else:
        from rlkit.recipe.show import print_plan

        print_plan(plan)
    for refusal in plan.refusals:
        print(f"rlkit: error: {refusal}", file=sys.stderr)
    return 2 if plan.refusals else 0


def _doctor(args: argparse.Namespace) -> int:
    from rlkit import doctor

    return doctor.run(args)


def _configure_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def _completion(args: argparse.Namespace) -> int:
    print(completion.write_script(args.shell, RLKIT), end="")
    return 0


RLKIT = Family(
    "Reinforcement-learning fine-tuning of language models on answers that can be checked.",
    {
        "train": Command(
            "Run a recipe: fine-tune the model and leave everything of the run on disk.", _configure_train, _train
        ),
        "plan": Command(
            "Say what a recipe will do here, its arithmetic, memory and placement, and start nothing.",
            _configure_plan,
            _plan,
        ),
        "verify": verify_cli.VERIFY,
        "reward": reward_cli.REWARD,
        "completion": Command(
            "Print a script that completes commands, options and recipe keys in a shell.",
            completion.configure,
            _completion,
        ),
        "doctor": Command(
            "Say what this machine can do, and what to enable where it cannot.", _configure_doctor, _doctor
        ),
    },
)
