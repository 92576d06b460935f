"""The mapping by column names: those that the user gives in `fields`, and those inferred from the first row."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rlkit.data.chat_messages import Conversation, conversation_of, messages_of, reply_of
from rlkit.data.columns import Columns, RowColumns, RowDraft, column, filled, id_of, text_of
from rlkit.data.recognise import Need
from rlkit.data.references import gold_text, reference_of
from rlkit.data.rows import RowError
from rlkit.data.worked import last_boxed, marked, thought_reply, without_calculator
from rlkit.recipe.schema import FieldsKeys

SOLUTION = "solution"
"""Column of worked solutions, whose reference answer is in the last \\boxed{}."""

_BARE = re.compile(r"[-+]?[\d,]*\.?\d+|(\$\$?)[^$]+\1")


@dataclass(frozen=True)
class OwnColumns:
    """A mapping that reads only the columns that the stage needs."""

    fields: FieldsKeys
    """The column of each key; None if there is none."""
    named: Collection[str] | None
    """Keys of `fields` that the user gave; their columns must exist. None: the user gave no fields, and the columns id,
    kind, domain and difficulty are used if a row has them."""
    need: Need
    kind: str | None
    """The source's kind, for rows that do not name one."""
    place: str
    """Key of the source in the recipe."""

    def __call__(self, row: Columns) -> RowDraft:
        """Maps one row.

        Raises:
            RowError: a column that the stage needs is missing or invalid.
        """
        assert isinstance(row, RowColumns)
        kind = self._kind(row)
        with self._remedy("reference"):
            kind, reference = self._reference(row, kind)
        with self._remedy("prompt"):
            conversation = self._conversation(row)
        with self._remedy("response"):
            response = self._response(row, conversation) if self.need == "response" else None
        return RowDraft(
            prompt=conversation.prompt,
            kind=kind,
            reference=reference,
            response=response,
            id=self._id(row),
            metadata=self._strata(row),
            history=conversation.history,
        )

    def _id(self, row: RowColumns) -> str | None:
        name = self._optional(row, "id")
        with self._remedy("id"):
            return None if name is None else id_of(column(row, name), required=True)

    def _optional(self, row: RowColumns, key: str) -> str | None:
        """Column of an optional part; None if there is none."""
        if self.named is not None:
            name: str | None = getattr(self.fields, key)
            return name
        return key if key in row else None

    @contextmanager
    def _remedy(self, key: str) -> Iterator[None]:
        """Adds a remedy for the whole file to a RowError in the block."""
        try:
            yield
        except RowError as e:
            raise RowError(str(e), f"name the column that holds it with {self.place}.fields.{key}") from e

    def _kind(self, row: RowColumns) -> str | None:
        name = self._optional(row, "kind")
        with self._remedy("kind"):
            kind = self.kind if name is None else column(row, name)
            if kind is not None and not (isinstance(kind, str) and kind.strip()):
                raise RowError(f"kind is {json.dumps(kind, default=str)}, not a kind of task")
        return kind

    def _reference(self, row: RowColumns, kind: str | None) -> tuple[str | None, Any]:
        """(kind, reference); for a demonstration only the kind, which needs no judge."""
        name = self.fields.reference
        if self.need == "response":
            value = None if name is None else column(row, name, required=False)
            code = kind in (None, "code") and isinstance(value, Mapping)
            return ("code" if code else kind), None
        if name is None:
            return kind, None  # the user set fields.reference to null
        value = column(row, name)
        if name == SOLUTION and "reference" not in (self.named or ()):
            value = _gold_of_solution(value)
        return kind, reference_of(value, kind)

    def _conversation(self, row: RowColumns) -> Conversation:
        pattern = self.fields.prompt
        if "{" in pattern:
            return Conversation((), re.sub(r"\{([^{}]+)\}", lambda m: text_of(row, m[1]), pattern), None)
        value = column(row, pattern)
        messages = messages_of(value)
        if messages is not None:
            return conversation_of(messages, pattern)
        if isinstance(value, list | tuple):
            raise RowError(
                f"column {pattern} holds a list; it must be text, or messages that each have role and content"
            )
        text = filled(value, pattern)
        if pattern == "instruction" and "prompt" not in (self.named or ()):
            more = row["input"] if "input" in row else row.get("context")  # the columns of Alpaca and Dolly
            text += f"\n\n{more}" if isinstance(more, str) and more.strip() else ""
        return Conversation((), text, None)

    def _response(self, row: RowColumns, conversation: Conversation) -> str | None:
        name = self.fields.response
        if name is None:
            return conversation.response
        if conversation.response is not None:
            raise RowError(f"two replies: the last message of {self.fields.prompt}, and column {name}")
        value = column(row, name)
        messages = messages_of(value)
        if messages is not None:
            return reply_of(messages, name)
        text = gold_text(value, name) if isinstance(value, int | float) else filled(value, name)
        if "response" in (self.named or ()):
            return text
        # Turn a worked solution with a marked answer into a reply: the solution as the thought, the answer in a box.
        gold = marked(text) if name == "answer" else last_boxed(text) if name == SOLUTION else None
        if gold is None:
            return text
        return thought_reply(without_calculator(text.rpartition("####")[0]) if name == "answer" else text, gold)

    def _strata(self, row: RowColumns) -> dict[str, Any]:
        """Domain and difficulty, the columns for filters and mixtures."""
        found = {}
        for key in ("domain", "difficulty"):
            name = getattr(self.fields, key)
            if self.named is None and key in row:
                name = key
            with self._remedy(key):
                value = None if name is None else column(row.all, name, required=key in (self.named or ()))
            if value is not None:
                found[key] = value
        return found


def _gold_of_solution(value: Any) -> Any:
    """The marked answer of a worked solution; the whole solution if it is only a number or a formula between "$"."""
    if not isinstance(value, str):
        return value
    gold = last_boxed(value) or marked(value) or (value if _BARE.fullmatch(value.strip()) else None)
    if gold is None:
        raise RowError(
            f"the {SOLUTION} has no complete \\boxed{{}} and there is no answer column; if the whole {SOLUTION} is the "
            f"answer, set reference: {SOLUTION}"
        )
    return gold
