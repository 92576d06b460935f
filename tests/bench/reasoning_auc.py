"""How well the reasoning part tells right replies from wrong ones, on real Qwen2.5-Math replies with labels.

    python tests/bench/reasoning_auc.py

Data: qwen_math_cot_100x8_scored.jsonl in RLKIT_DATA_DIR, default ../shared/data: 100 MATH problems, 8 replies each, 728
right and 72 wrong. The replies have no think tags: each is given as a thought, its final answer boxed after it, so that
the part sees what it would see of a reasoning model, and never the label. The AUC is the chance that a right reply
scores above a wrong one (ties count a half); "within" compares replies to the same problem only, which is what training
on groups does. The peer is the length of the reply, which knows nothing of mathematics: the better
of "shorter is better" and "longer is better".
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rewards.reasoning import Reasoning
from rlkit import Group, Sample, Task, extract_answer

DATA = Path(os.environ.get("RLKIT_DATA_DIR", "../shared/data")) / "qwen_math_cot_100x8_scored.jsonl"


class Judged(NamedTuple):
    """A reply with its label, its score and the peer's."""

    problem: int
    right: bool
    score: float
    length: int


def auc(right: Sequence[float], wrong: Sequence[float]) -> float:
    """Share of (right, wrong) pairs in which the right one scores higher; ties count a half."""
    return statistics.fmean((r > w) + (r == w) / 2 for r in right for w in wrong)


def auc_within(rows: Sequence[Judged], score: Callable[[Judged], float]) -> tuple[float, int]:
    """(AUC over pairs of one problem, number of such pairs)."""
    wins = []
    for problem in {row.problem for row in rows}:
        of_problem = [row for row in rows if row.problem == problem]
        right = [score(row) for row in of_problem if row.right]
        wrong = [score(row) for row in of_problem if not row.right]
        wins += [(r > w) + (r == w) / 2 for r in right for w in wrong]
    return statistics.fmean(wins), len(wins)


def judge(part: Reasoning) -> list[Judged]:
    """Scores every reply."""
    rows = []
    for line in DATA.read_text(encoding="utf-8").splitlines():
        problem = json.loads(line)
        task = Task(str(problem["idx"]), "math", problem["question"], problem["gt"])
        texts = problem["code"]
        replies = [f"<think>\n{text}\n</think>\n\\boxed{{{extract_answer(text) or ''}}}" for text in texts]
        group = Group(task, tuple(Sample(f"{task.id}#{i}", reply, 1) for i, reply in enumerate(replies)))
        for text, right, score in zip(texts, problem["score"], part.score(group), strict=True):
            assert score.value is not None
            rows.append(Judged(problem["idx"], bool(right), score.value, len(text)))
    return rows


def main() -> int:
    """Prints the table and the JSON line."""
    if not DATA.exists():
        print(f"{DATA} is absent; RLKIT_DATA_DIR names its folder", file=sys.stderr)
        return 2
    began = time.perf_counter()
    rows = judge(Reasoning())
    seconds = time.perf_counter() - began
    right, wrong = ([row for row in rows if row.right is label] for label in (True, False))
    ours = auc([row.score for row in right], [row.score for row in wrong])
    shorter = auc([-row.length for row in right], [-row.length for row in wrong])
    within, pairs = auc_within(rows, lambda row: row.score)
    shorter_within, _ = auc_within(rows, lambda row: -row.length)
    print(f"{len(right)} right and {len(wrong)} wrong replies, {len(rows) / seconds:.0f} replies a second")
    for name, some in (("right", right), ("wrong", wrong)):
        scores = [row.score for row in some]
        zero = sum(score <= 0.2 for score in scores) / len(scores)
        print(
            f"{name}: mean {statistics.fmean(scores):.3f}, median {statistics.median(scores):.3f}, no step {zero:.0%}"
        )
    print(f"AUC over all pairs: reasoning {ours:.3f}, shorter {shorter:.3f}, longer {1 - shorter:.3f}")
    print(f"AUC within a problem ({pairs} pairs): reasoning {within:.3f}, shorter {shorter_within:.3f}")
    peer = max(shorter, 1 - shorter)
    figures = {"benchmark": "reasoning_auc", "ratio": round(ours / peer, 3), "peer": "length of the reply"}
    print(json.dumps({**figures, "ours": round(ours, 4), "theirs": round(peer, 4), "unit": "AUC", "runs": 1}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
