"""Rows by named columns: those that the user names in `fields`, and those that were told from the first row."""

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
"""Column of worked solutions: its gold answer stands in its last box."""

_BARE = re.compile(r"[-+]?[\d,]*\.?\d+|(\$\$?)[^$]+\1")


@dataclass(frozen=True)
class OwnColumns:
    """A mapping; reads of a row what the stage needs and nothing else."""

    fields: FieldsKeys
    """Every key holds its column, or None where there is none."""
    named: Collection[str] | None
    """Keys of `fields` that the user wrote: their columns must be there. None: no fields were written; id, kind, domain
    and difficulty are then taken where a row has columns of these names."""
    need: Need
    kind: str | None
    """Of a row that names none, from the source."""
    place: str
    """Of the source in the recipe."""

    def __call__(self, row: Columns) -> RowDraft:
        """What the row holds.

        Raises:
            RowError: something that the stage reads is missing, or is not what it must be.
        """
        assert isinstance(row, RowColumns)
        kind = self._kind(row)
        with self._remedy("reference"):
            kind, reference = self._reference(row, kind)
        with self._remedy("prompt"):
            talk = self._conversation(row)
        with self._remedy("response"):
            response = self._response(row, talk) if self.need == "response" else None
        return RowDraft(
            prompt=talk.prompt,
            kind=kind,
            reference=reference,
            response=response,
            id=self._id(row),
            metadata=self._strata(row),
            history=talk.history,
        )

    def _id(self, row: RowColumns) -> str | None:
        name = self._optional(row, "id")
        with self._remedy("id"):
            return None if name is None else id_of(column(row, name), required=True)

    def _optional(self, row: RowColumns, key: str) -> str | None:
        """Column of a part that a row may lack."""
        if self.named is not None:
            name: str | None = getattr(self.fields, key)
            return name
        return key if key in row else None

    @contextmanager
    def _remedy(self, key: str) -> Iterator[None]:
        """Says what mends a file whose rows fail here."""
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
        """(kind, reference); of a demonstration only what tells its kind."""
        name = self.fields.reference
        if self.need == "response":
            value = None if name is None else column(row, name, required=False)
            code = kind in (None, "code") and isinstance(value, Mapping)
            return ("code" if code else kind), None
        if name is None:
            return kind, None  # the user says that there is none
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
                f"column {pattern} holds a list where text is expected, or messages that each have role and content"
            )
        text = filled(value, pattern)
        if pattern == "instruction" and "prompt" not in (self.named or ()):
            more = row["input"] if "input" in row else row.get("context")  # as the rows of Alpaca and Dolly have them
            text += f"\n\n{more}" if isinstance(more, str) and more.strip() else ""
        return Conversation((), text, None)

    def _response(self, row: RowColumns, talk: Conversation) -> str | None:
        name = self.fields.response
        if name is None:
            return talk.response
        if talk.response is not None:
            raise RowError(f"two replies: the last message of {self.fields.prompt}, and column {name}")
        value = column(row, name)
        messages = messages_of(value)
        if messages is not None:
            return reply_of(messages, name)
        text = gold_text(value, name) if isinstance(value, int | float) else filled(value, name)
        if "response" in (self.named or ()):
            return text
        # A worked solution that marks its answer becomes what a model would reply.
        gold = marked(text) if name == "answer" else last_boxed(text) if name == SOLUTION else None
        if gold is None:
            return text
        return thought_reply(without_calculator(text.rpartition("####")[0]) if name == "answer" else text, gold)

    def _strata(self, row: RowColumns) -> dict[str, Any]:
        """Domain and difficulty."""
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
    """The marked answer of a worked solution; all of one that is nothing but a number or a formula between "$"."""
    if not isinstance(value, str):
        return value
    gold = last_boxed(value) or marked(value) or (value if _BARE.fullmatch(value.strip()) else None)
    if gold is None:
        raise RowError(
            f"the {SOLUTION} has no finished \\boxed{{}} and there is no answer column; where all of it is the answer, "
            f"name it: reference: {SOLUTION}"
        )
    return gold
