"""`rlkit reward score`: scores a file of samples with a recipe's reward, one output line for each input line."""

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

_SAMPLE_COLUMNS = frozenset(
    (
        *("id", "group", "kind", "prompt", "history", "response", "reference"),
        *("num_tokens", "token_ids", "finish_reason", "metadata"),
    )
)
"""Columns with a meaning here; all others are metadata of the task."""
_BYTES_PER_TOKEN = 4
_PROGRESS_S = 2.0


@dataclass
class _Tally:
    """What has been scored so far, for the progress lines and the summary."""

    total: int
    began: float = field(default_factory=time.monotonic)
    printed_at: float = field(default_factory=time.monotonic)
    rewards: list[float] = field(default_factory=list)
    unscored: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    why: str = ""
    """Why the last unscored sample has no score."""
    traceback: str = ""
    """The last traceback of a plugin."""

    def event(self, kind: str, text: str) -> None:
        if kind == "plugin_error":
            self.traceback = text
        else:
            print(f"replaced a scoring process: {text}", file=sys.stderr)

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
        if now - self.printed_at > _PROGRESS_S:
            self.printed_at = now
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
        """Mean time of each part, the slowest first."""
        each = sorted(self.seconds.items(), key=lambda item: -item[1])
        return "\nms a sample: " + ", ".join(f"{name} {1e3 * s / self.total:.2f}" for name, s in each)


def score_file(loaded: LoadedRecipe, source: Path, out: Path, workers: int) -> int:
    """Scores every row of `source` in `workers` processes and writes the scores to `out`, in order.

    All rows are checked before the first is scored. Memory holds only the groups being scored and the scored groups
    that wait for an earlier one.

    Raises:
        DataError: a row is not a valid sample.
        PluginError: a plugin cannot be built.
        ScoringError: more samples than `reward.runtime.max_unscored` allows have no score, or the scoring processes
            keep dying.
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
    """Group number of each row that is read but not yet written."""
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
    """The output lines that can be written now: every earlier line is written."""
    while order and order[0] in finished:
        index = order.popleft()
        yield json.dumps(finished[index].popleft()) + "\n"
        if not finished[index]:
            del finished[index]


def _groups(source: Path, sizes: Mapping[str, int], order: deque[int], kind: str | None) -> Iterator[tuple[int, Group]]:
    """(number, group) once the group's last row is read; appends each row's group number to `order`."""
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
    """(number of rows of each group, number of rows with a value in each column).

    Args:
        kinds: task kinds that the reward accepts; None: any.
        default: kind of rows that name none: the recipe's data.kind.

    Raises:
        DataError: a row is not valid; the message names the row and the fault.
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
        raise DataError(f"{where}: prompt is missing, or neither a string nor a list of chat messages")
    if row.get("history") and messages_of(row["history"]) is None:
        raise DataError(f"{where}: history must be a list of chat messages")
    if not isinstance(row.get("response"), str):
        raise DataError(f"{where}: response is missing, or not a string")
    if "reference" not in row:
        raise DataError(f"{where}: reference is missing")
    if not isinstance(row.get("kind"), str | None):
        raise DataError(f"{where}: kind must be a string")
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
        raise DataError(f"{where}: group must be a string or a number")


def _key(number: int, row: Row) -> str:
    """The key of the row's group; a row without a group is a group of its own."""
    return f"line {number}" if row.get("group") is None else f"group {row['group']!r}"


def _group(rows: list[Row], default: str | None) -> Group:
    """The group of these rows. Its task is read like a row of a recipe's data; other columns are added to `metadata`.

    Raises:
        RowError: the reference is not valid for the task's kind.
    """
    first = rows[0]
    name = first.get("group") if first.get("group") is not None else first.get("id")
    kind = first.get("kind") or default
    reference = reference_of(first["reference"], kind)
    own = {name: value for name, value in first.items() if name not in _SAMPLE_COLUMNS}
    metadata: Mapping[str, Any] = {**first.get("metadata", {}), **own}
    kind = kind or inferred_kind(reference, metadata)
    reference, metadata = check_task(kind, reference, metadata)
    prompt, history = _prompt_of(first)
    task = Task(str(name), kind, prompt, reference, metadata, history)
    return Group(task, tuple(_sample(row) for row in rows))


def _prompt_of(row: Row) -> tuple[str, tuple[Message, ...]]:
    """(prompt, history) of a row whose prompt is a string or a list of chat messages."""
    earlier, messages = messages_of(row.get("history")) or [], messages_of(row["prompt"])
    if not earlier and messages is None:
        return row["prompt"], ()
    talk = conversation_of([*earlier, *(messages or [{"role": "user", "content": row["prompt"]}])], "prompt")
    return talk.prompt, talk.history


def _sample(row: Row) -> Sample:
    """A row's sample. Without `num_tokens` and `token_ids`, every four bytes count as a token."""
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
