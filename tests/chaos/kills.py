"""Runs that are killed again and again, the whole process tree at a random moment of a random phase, and continued.

    python -m tests.chaos.kills --kills 50 --seed 0 [--variant plain|ranks|ppo|lora|dynamic] [--only-driver]

An uninterrupted deterministic run comes first (SFT, then RL); then runs that are killed and continued by the same
command until they end. Prompts, samples, rewards, metrics, evaluations and weights must be the uninterrupted run's, bit
for bit, and nothing half written may be left. Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.phases import (
    ANY_AIMS,
    EVALUATE_EVERY,
    KEEP_BEST,
    KEEP_LAST,
    LATE_AIMS,
    RL_AIMS,
    SFT_AIMS,
    STEPS,
    rl_step,
    sft_is_done,
)
from tests.chaos.same import differences
from tests.chaos.victim import Kill, Victim
from tests.cluster.conftest import RLKIT, write_tiny_recipe
from tests.conftest import make_tiny_model

COMMON = (
    *(f"stages.1.steps={STEPS}", f"evaluation.every={EVALUATE_EVERY}"),
    *(f"checkpoint.keep_last={KEEP_LAST}", f"checkpoint.keep_best={KEEP_BEST}"),
    "reward.laborious={plugin: ./judge.py:Laborious, weight: 1}",
)
VARIANTS = {
    "plain": (),
    "ranks": ("learner.num_workers=2",),
    "ppo": (f"stages.1={{kind: ppo, steps: {STEPS}, prompts_per_step: 4, learning_rate: 1.0e-3}}",),
    "lora": ("learner.lora.rank=4", "stages.1.kl_coef=0.05", "stages.1.reference_every=2"),
    "dynamic": (
        "stages.1.dynamic_sampling=true",
        "stages.1.dynamic_sampling_rounds=3",
        "stages.1.samples_per_prompt=2",
    ),
}
JUDGE = """
import hashlib

from rlkit import Score


class Laborious:
    \"\"\"Takes some milliseconds a reply, as real judges do: a kill has to find it at work.\"\"\"

    def score(self, group):
        digests = [hashlib.pbkdf2_hmac("sha256", s.response.encode(), b"judge", 20_000) for s in group.samples]
        return [Score(digest[0] / 255) for digest in digests]
"""
MOST_KILLS = 12
"""Of one run; then it may end."""


@dataclass
class Outcome:
    """What came of a series of kills."""

    kills: list[Kill] = field(default_factory=list)
    runs: int = 0
    """Finished and compared with the uninterrupted one."""
    problems: list[str] = field(default_factory=list)
    """What differed or failed."""

    def table(self) -> str:
        """Kills by phase."""
        hit, meant = Counter(kill.phase for kill in self.kills), Counter(kill.aim for kill in self.kills)
        names = sorted(hit | meant, key=lambda name: (-hit[name], name))
        lines = [f"{name:<16} {hit[name]:>5} {meant[name]:>9}" for name in names]
        return "\n".join([f"{'phase':<16} {'kills':>5} {'aimed at':>9}", *lines])


class Series:
    """Kills in a row, over as many runs as that takes."""

    def __init__(self, folder: Path, variant: str, seed: int, say: Callable[[str], None]) -> None:
        self.folder, self.say = folder, say
        self.rng = random.Random(seed)
        self.recipe = write_tiny_recipe(folder, make_tiny_model(folder / "tiny"))
        (folder / "judge.py").write_text(JUDGE)
        self.overrides = (*COMMON, *VARIANTS[variant])
        self.outcome = Outcome()
        self.aimed: Counter[str] = Counter()
        self.whole = self.victim("whole")

    def victim(self, name: str) -> Victim:
        """A run to be."""
        run_dir = self.folder / name
        words = [*RLKIT, "train", str(self.recipe), *self.overrides, "--run-dir", str(run_dir)]
        return Victim(words, run_dir, self.rng)

    def run(self, kills: int, only_driver: bool = False) -> Outcome:
        """The uninterrupted run, then the kills."""
        began = time.monotonic()
        code = self.whole.finish(measure=True)
        assert code == 0, self.whole.output()
        self.say(f"uninterrupted run: {time.monotonic() - began:.1f} s; median spell of a phase: " + self._lengths())
        while len(self.outcome.kills) < kills:
            self._one_run(kills, only_driver)
        return self.outcome

    def _lengths(self) -> str:
        return ", ".join(f"{name} {seconds:.3f} s" for name, seconds in self.whole.lengths.items())

    def _one_run(self, kills: int, only_driver: bool) -> None:
        victim = self.victim(f"run-{self.outcome.runs + 1}")
        victim.lengths = self.whole.lengths
        code, in_this = None, 0
        while code is None:
            if len(self.outcome.kills) == kills or in_this == MOST_KILLS:
                code = victim.finish()
                break
            aim = self._choose(victim.run_dir)
            after = self.rng.choice((0, 0, 1, 2)) if aim in RL_AIMS and aim != "resume" else 0
            found = victim.kill_in(aim, after_steps=after, only_driver=only_driver)
            if isinstance(found, Kill):
                in_this += 1
                self._note(found)
            else:
                code = found
                self.say(f"the run ended before {aim!r} could be hit")
        self._compare(victim, code)

    def _choose(self, run_dir: Path) -> str:
        """A phase that is still to come, one of those that were aimed at least."""
        if not sft_is_done(run_dir):
            # A run that is only ever killed early does not get far.
            ahead = {**SFT_AIMS, **ANY_AIMS} if self.rng.random() < 0.7 else {**RL_AIMS}
        elif rl_step(run_dir) < STEPS - 2:
            ahead = {**RL_AIMS, **ANY_AIMS}
        else:
            ahead = {**LATE_AIMS}
            if (run_dir / "model").exists():
                ahead.pop("model")  # all of it: its end is what an earlier kill came after
        if not any(run_dir.glob("stage-1-*/checkpoints/step-*")):
            ahead.pop("resume", None)  # there is nothing yet that it could take up
        fewest = min(self.aimed[name] for name in ahead)
        aim = self.rng.choice([name for name in ahead if self.aimed[name] <= fewest])
        self.aimed[aim] += 1
        return aim

    def _note(self, kill: Kill) -> None:
        self.outcome.kills.append(kill)
        resumed = "-" if kill.resumed_s is None else f"{kill.resumed_s:.1f} s"
        self.say(
            f"kill {len(self.outcome.kills):>3}  aimed at {kill.aim:<15} hit {kill.phase:<15} after step {kill.step}, "
            f"{kill.alive_s:>5.1f} s after its start, which was at work again after {resumed}; "
            f"{kill.num_processes} processes"
        )

    def _compare(self, victim: Victim, code: int) -> None:
        self.outcome.runs += 1
        name = f"run {self.outcome.runs} ({victim.starts} starts)"
        problems = [f"exit code {code}: {victim.output()}"] if code else differences(victim.run_dir, self.whole.run_dir)
        self.outcome.problems += [f"{name}: {problem}" for problem in problems]
        self.say("\n".join([f"{name}: {'DIFFERS' if problems else 'equal to the uninterrupted run'}", *problems]))


def main(words: Sequence[str] | None = None) -> int:
    """The command."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.kills", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variant", choices=VARIANTS, default="plain")
    parser.add_argument("--only-driver", action="store_true", help="kill the command alone, not its processes")
    parser.add_argument("--folder", type=Path, help="where the runs stay to look at; by default they do not")
    args = parser.parse_args(words)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rlkit-chaos-") as scratch:
        folder = args.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        series = Series(folder.resolve(), args.variant, args.seed, lambda text: print(text, flush=True))
        outcome = series.run(args.kills, args.only_driver)
    print(f"\n{outcome.table()}\n")
    waits = sorted(kill.resumed_s for kill in outcome.kills if kill.resumed_s is not None)
    if waits:
        print(f"from a command to the first work of an actor: median {waits[len(waits) // 2]:.1f} s of {len(waits)}")
    what = "; ".join(outcome.problems) or "all equal to the uninterrupted run, bit for bit"
    print(f"{len(outcome.kills)} kills in {outcome.runs} runs, {time.monotonic() - began:.0f} s: {what}")
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
