"""Loads data sets from the Hugging Face Hub, with a deadline for every wait."""

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
        DataError: the data set or split does not exist; or the Hub does not answer within PROBE_S seconds and the
            data set is not in the local cache; or the download takes more than LOAD_S seconds.
    """
    name, _, config = path.partition("?config=")
    # Without a network the Hub's client retries for minutes, so probe it with one cheap request first.
    try:
        _with_deadline(PROBE_S, lambda: _probe(name))
        deadline = LOAD_S
    except Exception:
        # `datasets` falls back to its local cache by itself.
        deadline = PROBE_S
    try:
        dataset = _with_deadline(deadline, lambda: _load(name, config or None, split))
    except TimeoutError as e:
        raise DataError(_sentence(path, f"no answer from the Hugging Face Hub in {deadline:.0f} s")) from e
    except Exception as e:  # the Hub's client raises dozens of error classes
        # Its messages have many lines; the first one describes the error, the others give advice.
        first = (str(e).strip().splitlines() or [""])[0]
        raise DataError(_sentence(path, f"{type(e).__name__}: {first[:300]}")) from e
    yield from dataset_rows(dataset, path, f"{label}/{split}")


def _sentence(path: str, why: str) -> str:
    return (
        f'"{path}" is not a file or folder here and could not be loaded from the Hugging Face Hub ({why}); '
        "check the name and the network, or download it and give its path"
    )


def _probe(name: str) -> None:
    from huggingface_hub import HfApi

    HfApi().dataset_info(name, timeout=PROBE_S / 2)


def _load(name: str, config: str | None, split: str) -> Any:
    import datasets

    return datasets.load_dataset(name, config, split=split)


def _with_deadline(seconds: float, call: Callable[[], Any]) -> Any:
    """The call's result; raises TimeoutError after the deadline and leaves the call running in a daemon thread."""
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
