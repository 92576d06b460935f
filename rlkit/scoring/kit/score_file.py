"""`rlkit reward score`: a file of samples through a recipe's reward, a line out for each line in."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rlkit.data.chat_messages import Message, conversation_of, messages_of
from rlkit.data.kinds import check_kind, check_task, inferred_kind
from rlkit.data.references import reference_of
from rlkit.data.rows import RowError
from rlkit.errors import DataError, RlkitError, ScoringError
from rlkit.recipe.load import LoadedRecipe
from rlkit.recipe.schema import RewardKeys
from rlkit.records import Group, Sample, ScoredGroup, Task
from rlkit.scoring.combine import PluginTraceback, unscored_causes
from rlkit.scoring.kit.judged_rows import Row, check_files, read_rows
from rlkit.scoring.plugins.reward_check import check_columns, check_plugins
from rlkit.scoring.processes.child_processes import LocalPool

_OURS = frozenset(
    (
        *("id", "group", "kind", "prompt", "history", "response", "reference"),
        *("num_tokens", "token_ids", "finish_reason", "metadata"),
    )
)
"""Columns that are no part of the task's metadata."""
_BYTES_PER_TOKEN = 4
_PROGRESS_S = 2.0


@dataclass
class _Tally:
    """What was scored so far, for the progress and the end."""

    total: int
    began: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)
    rewards: list[float] = field(default_factory=list)
    unscored: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    why: str = ""
    """Why the last sample without a score has none."""
    traceback: str = ""
    """The last one of a plugin."""

    def event(self, kind: str, text: str) -> None:
        if kind == "plugin_error":
            self.traceback = text
        else:
            print(f"replaced: {text}", file=sys.stderr)

    def add(self, group: ScoredGroup) -> None:
        self.rewards += [reward for reward in group.rewards if reward is not None]
        for name, seconds in group.seconds.items():
            self.seconds[name] += seconds
        self.unscored += sum(reward is None for reward in group.rewards)
        for name, score in unscored_causes(group):
            self.reasons[f"{name}: {score.verdict}"] += 1
            self.why = score.reason

    def progress(self) -> None:
        now = time.monotonic()
        if now - self.said > _PROGRESS_S:
            self.said = now
            done = len(self.rewards) + self.unscored
            rate = done / (now - self.began)
            print(
                f"{done} of {self.total} scored, {rate:.0f}/s, {(self.total - done) / rate:.0f} s left", file=sys.stderr
            )

    def summary(self) -> str:
        mean = f", mean reward {sum(self.rewards) / len(self.rewards):.4f}" if self.rewards else ""
        missing = f", {self.unscored} unscored ({_counted(self.reasons)})" if self.unscored else ""
        seconds = time.monotonic() - self.began
        return f"{len(self.rewards)} of {self.total} samples scored in {seconds:.1f} s{mean}{missing}{self._times()}"

    def _times(self) -> str:
        """What each part took, the slowest first."""
        each = sorted(self.seconds.items(), key=lambda item: -item[1])
        return "\nms a sample: " + ", ".join(f"{name} {1e3 * s / self.total:.2f}" for name, s in each)


def score_file(loaded: LoadedRecipe, source: Path, out: Path, workers: int) -> int:
    """Scores every row of `source` into `out`, in order, in `workers` processes.

    The rows are checked first, so that a bad one is found before anything is scored. Memory holds the groups that are
    being scored and those that wait for an earlier one.

    Raises:
        DataError: a row that is no sample.
        PluginError: a plugin cannot be built.
        ScoringError: more samples than `reward.runtime.max_unscored` allows have no score, or the reward keeps dying.
    """
    check_files(source, out)
    parts = check_plugins(loaded.recipe.reward, loaded.base_dir)
    kind = loaded.recipe.data.kind
    sizes, columns = _check(source, loaded.recipe.reward.kinds, kind)
    if not sizes:
        raise DataError(f"{source}: holds no rows")
    for note in check_columns(parts, columns, sum(sizes.values())):
        print(f"note: {note}", file=sys.stderr)
    reward = _with_workers(loaded.recipe.reward, min(workers, len(sizes)))
    tally = _Tally(sum(sizes.values()))
    pool = LocalPool(reward, loaded.base_dir, on_event=tally.event)
    try:
        _write(pool, source, sizes, out, tally, kind)
    finally:
        pool.close()
    print(tally.summary(), file=sys.stderr)
    most = reward.runtime.max_unscored
    if tally.unscored > most * tally.total:
        raise ScoringError(
            f"{tally.unscored} of {tally.total} samples could not be scored ({_counted(tally.reasons)}), more than "
            f"reward.runtime.max_unscored={most:g} allows; the last one: {tally.why}"
            + ("; --debug shows the last traceback" if tally.traceback else "")
        ) from (PluginTraceback(tally.traceback) if tally.traceback else None)
    return 0


def _write(pool: LocalPool, source: Path, sizes: Mapping[str, int], out: Path, tally: _Tally, kind: str | None) -> None:
    order: deque[int] = deque()
    """The group's number of each row that is read and not yet written."""
    finished: dict[int, deque[Row]] = {}
    scored = pool.score(_groups(source, sizes, order, kind))
    try:
        with out.open("w", encoding="utf-8") as file:
            for index, group in scored:
                tally.add(group)
                finished[index] = deque(_rows(group))
                file.writelines(_lines_in_order(order, finished))
                tally.progress()
    except OSError as e:
        raise RlkitError(f"{out}: cannot be written ({e.strerror})") from e
    assert not order, "every row has its line"


def _lines_in_order(order: deque[int], finished: dict[int, deque[Row]]) -> Iterator[str]:
    """The lines that nothing before them waits for."""
    while order and order[0] in finished:
        index = order.popleft()
        yield json.dumps(finished[index].popleft()) + "\n"
        if not finished[index]:
            del finished[index]


def _groups(source: Path, sizes: Mapping[str, int], order: deque[int], kind: str | None) -> Iterator[tuple[int, Group]]:
    """(its number, group) once the group's last row is read; notes each row's group in `order`."""
    numbers = {key: index for index, key in enumerate(sizes)}
    waiting: dict[str, list[Row]] = {}
    for number, row in read_rows(source):
        key = _key(number, row)
        order.append(numbers[key])
        rows = waiting.setdefault(key, [])
        rows.append(row)
        if len(rows) == sizes[key]:
            yield numbers[key], _group(waiting.pop(key), kind)


def _check(
    source: Path, kinds: Collection[str] | None, default: str | None
) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """(rows of each group, rows with a value in each column).

    Args:
        kinds: of task that the reward judges; None: any.
        default: of rows that name none, the recipe's data.kind.

    Raises:
        DataError: naming the row and what is wrong with it.
    """
    sizes: Counter[str] = Counter()
    columns: Counter[str] = Counter()
    tasks: dict[str, tuple[int, int]] = {}
    for number, row in read_rows(source):
        where = f"{source}:{number}"
        _check_row(row, where)
        try:
            task = _group([row], default).task
            check_kind(task.kind, kinds)
        except RowError as e:
            raise DataError(f"{where}: {e}") from e
        key = _key(number, row)
        sizes[key] += 1
        columns.update(name for name, value in task.metadata.items() if value is not None)
        asked = hash(json.dumps([task.kind, row["prompt"], row["reference"]], sort_keys=True))
        first, known = tasks.setdefault(key, (number, asked))
        if known != asked:
            raise DataError(
                f"{where}: group {row['group']!r} has another kind, prompt or reference than in line {first}"
            )
    return sizes, columns


def _check_row(row: Row, where: str) -> None:
    if not isinstance(row.get("prompt"), str) and messages_of(row.get("prompt")) is None:
        raise DataError(f"{where}: prompt is missing, or neither a text nor a list of chat messages")
    if row.get("history") and messages_of(row["history"]) is None:
        raise DataError(f"{where}: history must be a list of chat messages")
    if not isinstance(row.get("response"), str):
        raise DataError(f"{where}: response is missing, or no text")
    if "reference" not in row:
        raise DataError(f"{where}: reference is missing")
    if not isinstance(row.get("kind"), str | None):
        raise DataError(f"{where}: kind must be a text")
    num_tokens = row.get("num_tokens", 0)
    if isinstance(num_tokens, bool) or not isinstance(num_tokens, int) or num_tokens < 0:
        raise DataError(f"{where}: num_tokens must be a whole number from 0, got {num_tokens!r}")
    ids = row.get("token_ids", [])
    if not isinstance(ids, list) or not all(isinstance(number, int) for number in ids):
        raise DataError(f"{where}: token_ids must be a list of whole numbers")
    if not all(abs(number) < 2**31 for number in ids):
        raise DataError(f"{where}: token_ids must be below 2**31")
    if not isinstance(row.get("metadata", {}), dict):
        raise DataError(f"{where}: metadata must be an object")
    if isinstance(row.get("group"), list | dict):
        raise DataError(f"{where}: group must be a text or a number")


def _key(number: int, row: Row) -> str:
    """One key a group; a row without a group is one of its own."""
    return f"line {number}" if row.get("group") is None else f"group {row['group']!r}"


def _group(rows: list[Row], default: str | None) -> Group:
    """The task as a recipe's data would be read, its own columns beside those of `metadata`.

    Raises:
        RowError: the reference is none of its kind.
    """
    first = rows[0]
    name = first.get("group") if first.get("group") is not None else first.get("id")
    kind = first.get("kind") or default
    reference = reference_of(first["reference"], kind)
    own = {name: value for name, value in first.items() if name not in _OURS}
    metadata: Mapping[str, Any] = {**first.get("metadata", {}), **own}
    kind = kind or inferred_kind(reference, metadata)
    reference, metadata = check_task(kind, reference, metadata)
    prompt, history = _asked(first)
    task = Task(str(name), kind, prompt, reference, metadata, history)
    return Group(task, tuple(_sample(row) for row in rows))


def _asked(row: Row) -> tuple[str, tuple[Message, ...]]:
    """(prompt, history) of a row whose prompt is a text, or chat messages."""
    earlier, messages = messages_of(row.get("history")) or [], messages_of(row["prompt"])
    if not earlier and messages is None:
        return row["prompt"], ()
    talk = conversation_of([*earlier, *(messages or [{"role": "user", "content": row["prompt"]}])], "prompt")
    return talk.prompt, talk.history


def _sample(row: Row) -> Sample:
    """Without `num_tokens` and `token_ids`, one token for each four bytes is assumed."""
    text, ids = row["response"], np.array(row.get("token_ids", ()), np.int32)
    guess = len(ids) or -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)
    finished = row.get("finish_reason", "stop")
    return Sample(row.get("id", ""), text, row.get("num_tokens", guess), finish_reason=finished, token_ids=ids)


def _rows(group: ScoredGroup) -> Iterator[dict[str, Any]]:
    for i, sample in enumerate(group.samples):
        parts = {
            name: {
                "value": scores[i].value,
                "weight": group.weights[name],
                "verdict": scores[i].verdict,
                "reason": scores[i].reason,
            }
            for name, scores in group.parts.items()
        }
        yield {"id": sample.id, "reward": group.rewards[i], "parts": parts}


def _with_workers(reward: RewardKeys, workers: int) -> RewardKeys:
    runtime = reward.runtime.model_copy(update={"num_workers": workers})
    return reward.model_copy(update={"runtime": runtime})


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason} x {count}" for reason, count in reasons.most_common(3))
