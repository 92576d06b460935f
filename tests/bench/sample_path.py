"""Bytes of a step's samples on their way to a learner rank and to the scorers, beside the whole groups pickled.

    python tests/bench/sample_path.py [--runs 5]

A step is drawn and scored by the default reward in this process. "ours" is what is sent: arrays without text to the
learner, groups without log-probs to the scorers. "whole groups" are the same step with texts, references, scores,
evidence and log-probs; "theirs", the peer, are those with tokens and log-probs as tuples of Python's numbers. Bytes are
counted as Ray sends values: a pickle and, beside it, the arrays' buffers. Times are of building, pickling and reading
back, medians of the runs, which take turns.

quickstart: 32 prompts of 20 tokens, 8 replies of 40; realistic: 16 prompts of 150 tokens, 8 replies of 512.
"""

from __future__ import annotations

import argparse
import json
import pickle
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ray import cloudpickle

from rlkit import Group, Sample, ScoredGroup, Task
from rlkit.algorithm.step_arrays import StepSamples
from rlkit.recipe.schema.reward_section import RewardKeys
from rlkit.scoring.combine import score_group
from rlkit.scoring.plugins.plugin import load_parts

VOCABULARY = 100_000


class Size(NamedTuple):
    """A step."""

    prompts: int
    prompt_tokens: int
    reply_tokens: int
    samples: int = 8


SIZES = {"quickstart": Size(32, 20, 40), "realistic": Size(16, 150, 512)}


def drawn_groups(size: Size) -> list[Group]:
    """Sums with their working, a line of a dozen characters for each 3 tokens; every second reply ends wrongly."""
    rng = np.random.default_rng(0)
    groups = []
    for p in range(size.prompts):
        numbers = rng.integers(1, 1000, size.prompt_tokens // 2)
        task = Task(f"sum/{p}", "math", f"What is {' + '.join(map(str, numbers))}?", str(numbers.sum()))
        prompt_ids = rng.integers(0, VOCABULARY, size.prompt_tokens)
        samples = []
        for i in range(size.samples):
            terms = rng.integers(1, 1000, (size.reply_tokens // 3, 2))
            working = "\n".join(f"{a}+{b}={a + b}" for a, b in terms)
            response = f"<think>\n{working}\n</think>\n\\boxed{{{numbers.sum() + i % 2}}}"
            token_ids = rng.integers(0, VOCABULARY, size.reply_tokens)
            logprobs = np.log(rng.random(size.reply_tokens, np.float32))
            sample = Sample(f"{task.id}#{i}", response, len(token_ids), "stop", token_ids, logprobs, i, 7, prompt_ids)
            samples.append(sample)
        groups.append(Group(task, tuple(samples)))
    return groups


def scored_groups(groups: list[Group]) -> list[ScoredGroup]:
    """By the default reward, in this process."""
    reward = RewardKeys.model_validate({})
    parts = load_parts(reward, Path.cwd())
    return [score_group(group, parts, reward.weights, reward.combine) for group in groups]


@dataclass(frozen=True)
class PlainSample:
    """A sample without arrays."""

    id: str
    response: str
    num_tokens: int
    finish_reason: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    seed: int
    policy_version: int
    prompt_ids: tuple[int, ...]


def plain(groups: list[Any]) -> list[Any]:
    """The groups with plain samples; those of a group share their prompt."""
    found = []
    for group in groups:
        prompt_ids = tuple(group.samples[0].prompt_ids.tolist())
        samples = [
            PlainSample(
                **{**vars(s), "token_ids": tuple(s.token_ids.tolist()), "logprobs": tuple(s.logprobs.tolist())}
                | {"prompt_ids": prompt_ids}
            )
            for s in group.samples
        ]
        found.append(replace(group, samples=tuple(samples)))
    return found


class Sent(NamedTuple):
    """A value on its way between two processes."""

    num_bytes: int
    seconds: float


def send(make: Callable[[], Any]) -> Sent:
    """Builds a value, pickles it as Ray does, and reads it back."""
    began = time.perf_counter()
    buffers: list[pickle.PickleBuffer] = []
    pickled = cloudpickle.dumps(make(), protocol=5, buffer_callback=buffers.append)
    pickle.loads(pickled, buffers=buffers)
    return Sent(len(pickled) + sum(buffer.raw().nbytes for buffer in buffers), time.perf_counter() - began)


def compare(size: Size, runs: int) -> dict[str, Sent]:
    """By what is sent: its bytes, and the median of its times."""
    drawn = drawn_groups(size)
    scored = scored_groups(drawn)
    plain_drawn, plain_scored = plain(drawn), plain(scored)
    ways = {
        "learner, ours": lambda: StepSamples.of(scored),
        "learner, whole groups": lambda: scored,
        "learner, theirs": lambda: plain_scored,
        "scorers, ours": lambda: [group.without_logprobs() for group in drawn],
        "scorers, whole groups": lambda: drawn,
        "scorers, theirs": lambda: plain_drawn,
    }
    found: dict[str, list[Sent]] = {name: [] for name in ways}
    for _ in range(runs + 1):
        for name, make in ways.items():
            found[name].append(send(make))
    # The first run of each is warm-up.
    return {
        name: Sent(sent[0].num_bytes, statistics.median(s.seconds for s in sent[1:])) for name, sent in found.items()
    }


def main() -> None:
    """Prints the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs: int = parser.parse_args().runs
    ratios = {}
    for name, size in SIZES.items():
        found = compare(size, runs)
        print(f"{name}: {size.prompts} prompts, {size.samples} replies of {size.reply_tokens} tokens each")
        for what, sent in found.items():
            print(f"  {what:<22} {sent.num_bytes:>10,} bytes  {1000 * sent.seconds:7.1f} ms")
        ratios[name] = found["learner, ours"].num_bytes / found["learner, theirs"].num_bytes
    ours, theirs = found["learner, ours"].num_bytes, found["learner, theirs"].num_bytes
    result = {
        "benchmark": "sample_path",
        "ratio": round(ratios["realistic"], 4),
        "peer": "whole groups of Python's numbers",
        "ours": ours,
        "theirs": theirs,
        "unit": "bytes to each learner rank, a step of realistic size",
        "runs": runs,
        "ratios": {name: round(ratio, 4) for name, ratio in ratios.items()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
