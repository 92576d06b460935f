"""Splits chat messages into earlier messages, the user's last text, and the reply to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlkit.data.read_rows import type_name
from rlkit.data.rows import RowError

Message = Mapping[str, Any]
"""A message for chat templates: "role", "content" and further keys of the data, such as "tool_calls"."""

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatbot", "chatgpt"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "ipython"), "tool"),
}
"""By role name in data sets, including ShareGPT's: the role name in chat templates."""
_KEYS = (("role", "content"), ("from", "value"))


@dataclass(frozen=True)
class Conversation:
    """The parts of a list of messages."""

    history: tuple[Message, ...]
    """System message and earlier turns."""
    prompt: str
    """The user's last text."""
    response: str | None
    """The assistant's text after it; None if there is none."""


def messages_of(value: Any) -> list[Any] | None:
    """The messages in a column, which holds a list of messages or its JSON text; None if it holds anything else."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, list | tuple) or not value:
        return None
    return list(value) if all(isinstance(item, Mapping) and _keys(item) for item in value) else None


def conversation_of(messages: Sequence[Any], name: str) -> Conversation:
    """Splits the messages of column `name`.

    Raises:
        RowError: a message is invalid, or the last message before the reply is not the user's.
    """
    read = [_message(item, f"message {number} of {name}") for number, item in enumerate(messages, start=1)]
    response = None
    if read[-1]["role"] == "assistant":
        response = _filled_text(read.pop(), f"the last message of {name}")
    if not read or read[-1]["role"] != "user":
        found = f"there is one of the role {read[-1]['role']}" if read else "there is no other message"
        raise RowError(f"{name} must end with a message of the user, or have one right before the reply; {found}")
    return Conversation(tuple(read[:-1]), _filled_text(read[-1], f"the user's last message of {name}"), response)


def reply_of(messages: Sequence[Any], name: str) -> str:
    """The text of a reply that is a list with one message.

    Raises:
        RowError: it is not exactly one message of the assistant.
    """
    read = [_message(item, f"message {number} of {name}") for number, item in enumerate(messages, start=1)]
    if [message["role"] for message in read] != ["assistant"]:
        raise RowError(f"{name} must hold a text or one message of the assistant")
    return _filled_text(read[0], f"the message of {name}")


def _keys(item: Mapping[str, Any]) -> tuple[str, str] | None:
    return next(((who, what) for who, what in _KEYS if who in item and what in item), None)


def _message(item: Mapping[str, Any], name: str) -> Message:
    keys = _keys(item)
    assert keys is not None
    role = ROLES.get(str(item[keys[0]]).lower())
    if role is None:
        raise RowError(f"{name} has the role {str(item[keys[0]])[:40]!r}; there are {', '.join(ROLES)}")
    # Parquet gives every message the keys of all messages; drop those that are null.
    rest = {key: value for key, value in item.items() if key not in keys and value is not None}
    return {**rest, "role": role, "content": _text(item[keys[1]], name)}


def _text(content: Any, name: str) -> str:
    """A message's content: a text, or a list of text parts."""
    if content is None:
        return ""  # a tool call
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise RowError(f"{name} holds {type_name(content)} where text is expected")
    texts = [part if isinstance(part, str) else _part(part, name) for part in content]
    return "".join(texts)


def _part(part: Any, name: str) -> str:
    text = part.get("text") if isinstance(part, Mapping) else None
    if not isinstance(text, str):
        kind = part.get("type", "an object without text") if isinstance(part, Mapping) else type_name(part)
        raise RowError(f"{name} has a part that is not text ({kind}): only text is supported")
    return text


def _filled_text(message: Message, name: str) -> str:
    text = message["content"]
    if not text.strip():
        raise RowError(f"{name} is empty")
    return str(text)
