"""A metrics sink that appends the reward and accuracy of each step to a CSV file."""

import csv
from collections.abc import Mapping
from typing import Any


class CsvSink:
    def __init__(self, path: str) -> None:
        self._file = open(path, "a", newline="", encoding="utf-8")  # noqa: SIM115 (close() closes it)
        self._writer = csv.writer(self._file)

    def log(self, row: Mapping[str, Any]) -> None:
        self._writer.writerow([row["stage"], row["step"], row.get("reward/total"), row.get("accuracy")])
        self._file.flush()

    def close(self) -> None:
        self._file.close()
