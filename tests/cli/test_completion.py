"""Completion answers in real shells: commands, options, recipe files, dotted keys and their values."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time

import pytest

from rlkit.cli.completion import SHELLS, _table, write_script
from rlkit.cli.main import RLKIT
from rlkit.errors import RecipeError
from rlkit.recipe.load import load_recipe

RECIPE = """# kind: ppo
data: {path: rows.jsonl, kind: math}
model: {init: {}}
stages:
# - kind: ppo
- {kind: sft, steps: 3}   # then kind: ppo
- {steps: 3, "kind": grpo}
-
  kind:   ppo
run: {name: a}
"""
FILES = ("mine.yaml", "rows.jsonl", "mine.txt", "two words.yml")
CASES = {
    # what is typed: what must be offered, what must not
    "rlkit ": ({"train", "plan", "verify", "completion"}, {"math"}),
    "rlkit tra": ({"train"}, {"plan"}),
    "rlkit verify ": ({"math", "code"}, {"train"}),
    "rlkit verify code --ti": ({"--tier"}, {"--timeout"}),
    "rlkit verify code --tier ": ({"namespaces", "wasm"}, {"math"}),
    "rlkit verify math --input ro": ({"rows.jsonl"}, {"mine.yaml"}),
    "rlkit train ": ({"mine.yaml", "two words.yml"}, {"rows.jsonl", "mine.txt", "run."}),
    "rlkit train --resume ": ({"auto", "must", "never"}, {"mine.yaml"}),
    "rlkit train --resume must mi": ({"mine.yaml"}, {"mine.txt"}),
    "rlkit train mine.yaml --run-dir ": ({"folder"}, {"mine.yaml"}),
    "rlkit train mine.yaml ": ({"run.", "stages.", "data."}, {"mine.yaml", "run.name="}),
    "rlkit train mine.yaml stages.": ({"stages.0.", "stages.1.", "stages.2."}, {"stages.3."}),
    "rlkit train mine.yaml stages.0.": ({"stages.0.steps=", "stages.0.epochs="}, {"stages.0.clip_low="}),
    "rlkit train mine.yaml stages.1.": ({"stages.1.clip_low="}, {"stages.1.epochs=", "stages.1.gamma="}),
    "rlkit train mine.yaml stages.2.gam": ({"stages.2.gamma="}, set()),
    "rlkit train mine.yaml run.name=b stages.1.samples_per": ({"stages.1.samples_per_prompt="}, set()),
    "rlkit train mine.yaml stages.1.preset=d": ({"stages.1.preset=dapo"}, {"stages.1.preset=rloo"}),
    "rlkit train mine.yaml run.deterministic=": ({"run.deterministic=true"}, set()),
    "rlkit train mine.yaml data.path=ro": ({"data.path=rows.jsonl"}, {"data.path=mine.yaml"}),
    "rlkit train mine.yaml reward.repetition.w": ({"reward.repetition.weight="}, set()),
    "rlkit train mine.yaml learner.lora.q": ({"learner.lora.quantize="}, set()),
    "rlkit train mine.yaml --allow stages.1.learn": ({"stages.1.learning_rate"}, {"stages.1.learning_rate="}),
    "rlkit train mine.yaml --": ({"--resume", "--debug", "--help"}, {"--tier"}),
    "rlkit plan not-there.yaml stages.0.pre": ({"stages.0.preset="}, set()),
}  # fmt: skip
BASH = """
source script.bash
answer() {
    COMP_LINE=$1 COMP_POINT=${#1}
    _rlkit
    before=${1##* }
    if [[ $before == *=* && $COMP_WORDBREAKS == *=* ]]; then before=${before%"${before##*=}"}; else before=; fi
    for word in "${COMPREPLY[@]}"; do printf "%s\\n" "$before$word"; done
    echo END
}
"""


@pytest.fixture(scope="module")
def scripts():
    return {shell: write_script(shell, RLKIT) for shell in SHELLS}


@pytest.fixture
def folder(tmp_path, scripts):
    """A user's folder, with the scripts."""
    for name in FILES:
        (tmp_path / name).write_text(RECIPE)
    (tmp_path / "folder").mkdir()
    for shell, script in scripts.items():
        (tmp_path / f"script.{shell}").write_text(script)
    return tmp_path


def needs(shell):
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


def check(answers):
    assert len(answers) == len(CASES)
    for line, offered in zip(CASES, answers, strict=True):
        wanted, unwanted = CASES[line]
        offered = {word.rstrip("/") for word in offered}
        assert wanted <= offered, (line, offered)
        assert not unwanted & offered, (line, offered)
        typed = line.rpartition(" ")[2]
        assert all(word.startswith(typed) for word in offered), (line, offered)


@pytest.mark.parametrize("breaks", [r" $'\t\n=:'", r" $'\t\n'"])
def test_bash_offers_what_can_follow(folder, breaks):
    program = f"COMP_WORDBREAKS={breaks.strip()}\n{BASH}" + "".join(f'answer "{line}"\n' for line in CASES)
    done = subprocess.run(["bash", "-c", program], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    check([part.split("\n")[:-1] for part in done.stdout.split("END\n")[:-1]])


@needs("fish")
def test_fish_offers_what_can_follow_with_its_help(folder):
    program = "source script.fish\n" + "".join(f"complete -C '{line}'; echo END\n" for line in CASES)
    done = subprocess.run(["fish", "-N", "-c", program], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    answers = [part.split("\n")[:-1] for part in done.stdout.split("END\n")[:-1]]
    assert "train\tRun a recipe: fine-tune the model and save the run to disk." in answers[1]
    check([[line.partition("\t")[0] for line in answer] for answer in answers])


TYPED = {
    "true && rlkit tra\t": "true && rlkit train ",
    "rlkit train mi\tstages.1.samp\t": "rlkit train mine.yaml stages.1.samples_per_prompt=",
    "rlkit train mine.yaml run.deterministic=t\t": "run.deterministic=true ",
    "rlkit train mine.yaml data.path=ro\t": "data.path=rows.jsonl ",
    "rlkit train --resume mu\ttw\t": "--resume must two\\ words.yml ",
}
INTERACTIVE = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], ""),
    "zsh": (["zsh", "-f", "-i"], "autoload -U compinit; compinit -u -D; "),
}


@pytest.mark.parametrize("shell", [pytest.param(s, marks=needs(s)) for s in INTERACTIVE])
def test_typed_at_a_prompt_a_word_is_completed_in_place(folder, shell):
    words, first = INTERACTIVE[shell]
    for keys, becomes in TYPED.items():
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(folder)
            os.execvpe(words[0], words, os.environ | {"PS1": "> ", "TERM": "dumb", "COLUMNS": "200"})
        try:
            send(terminal, f"{first}source script.{shell}; echo re''ady\n", "ready")
            send(terminal, keys, becomes)
        finally:
            os.close(terminal)
            os.kill(pid, 9)
            os.waitpid(pid, 0)


def send(terminal, keys, becomes):
    """Types keys and reads until the screen shows what they should become."""
    os.write(terminal, keys.encode())
    screen, deadline = "", time.monotonic() + 30
    while becomes not in re.sub(" +", " ", re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]|[\x07\x08\r]", "", screen)):
        assert time.monotonic() < deadline, screen
        if select.select([terminal], [], [], 1)[0]:
            screen += os.read(terminal, 65536).decode(errors="replace")


def test_every_key_that_is_offered_is_one_of_the_recipe(tmp_path):
    """Whatever its value is: the schema has the key."""
    path = tmp_path / "r.yaml"
    path.write_text("model: {init: {}}\ndata: {path: 'builtin:quickstart'}\nstages: [{kind: grpo, steps: 1}]\n")
    table = [call for call in _table(RLKIT) if call[0] in ("key", "stage_key")]
    names = [call[1] if call[0] == "key" else f"stages.0.{call[2]}" for call in table]
    kinds = [None if call[0] == "key" else call[1] for call in table]
    assert len(names) > 200
    refused = []
    for name, kind in zip(names, kinds, strict=True):
        try:
            load_recipe(path, [*([f"stages.0={{kind: {kind}, steps: 1}}"] if kind else []), f"{name}=[[]]"])
        except RecipeError as e:
            refused += [str(e)] * ("unknown key" in str(e))
    assert refused == []


def test_the_scripts_start_no_python_and_their_program_needs_no_quoting(scripts):
    for script in scripts.values():
        program = script[script.index("# Prints the completions") : script.index("    exit\n}\n")]
        assert "'" not in program
        assert "\\\\" not in program, "fish reads two backslashes as one"
        assert "python" not in script.replace(program, "").lower()


def test_the_command_prints_the_script(scripts):
    done = subprocess.run(
        [sys.executable, "-m", "rlkit", "completion", "fish"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == scripts["fish"]
