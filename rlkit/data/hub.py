"""Data sets of the Hugging Face Hub, with a deadline on every wait."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

from rlkit.data.read_rows import dataset_rows
from rlkit.data.rows import Row
from rlkit.errors import DataError

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(\?config=[\w.-]+)?")
PROBE_S = 20.0
LOAD_S = 1800.0


def read_hub(path: str, split: str, label: str) -> Iterator[Row]:
    """Rows of `owner/name` or `owner/name?config=main`.

    Raises:
        DataError: no such data set or split, the Hub does not answer within PROBE_S seconds and the local cache does
            not hold the data set, or the download takes more than LOAD_S seconds.
    """
    name, _, config = path.partition("?config=")
    # The Hub's client retries for minutes without a network: ask one cheap question first.
    try:
        _within(PROBE_S, lambda: _probe(name))
        deadline = LOAD_S
    except Exception:
        # Without the Hub the local cache may still hold it; `datasets` looks there by itself.
        deadline = PROBE_S
    try:
        dataset = _within(deadline, lambda: _load(name, config or None, split))
    except TimeoutError as e:
        raise DataError(_sentence(path, f"no answer from the Hugging Face Hub in {deadline:.0f} s")) from e
    except Exception as e:  # whatever the Hub's client raises: dozens of kinds, all of them "not loaded"
        # Its messages run over many lines with advice of their own; the first one says what happened.
        first = (str(e).strip().splitlines() or [""])[0]
        raise DataError(_sentence(path, f"{type(e).__name__}: {first[:300]}")) from e
    yield from dataset_rows(dataset, path, f"{label}/{split}")


def _sentence(path: str, why: str) -> str:
    return (
        f'"{path}" is no file or folder here and could not be loaded from the Hugging Face Hub ({why}); '
        "check the name and the network, or download it and give its path"
    )


def _probe(name: str) -> None:
    from huggingface_hub import HfApi

    HfApi().dataset_info(name, timeout=PROBE_S / 2)


def _load(name: str, config: str | None, split: str) -> Any:
    import datasets

    return datasets.load_dataset(name, config, split=split)


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """The call's result, or TimeoutError; a call that never ends is left to a daemon thread."""
    outcome: list[Any] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            outcome.append(call())
        except BaseException as e:
            failure.append(e)

    thread = threading.Thread(target=work, daemon=True, name="rlkit-hub")
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not outcome:
        raise TimeoutError
    return outcome[0]
