"""A metrics sink: step, reward and accuracy of each step as a line of CSV."""

import csv
from collections.abc import Mapping
from typing import Any


class CsvSink:
    def __init__(self, path: str) -> None:
        self._file = open(path, "a", newline="", encoding="utf-8")  # noqa: SIM115 (closed at the run's end)
        self._writer = csv.writer(self._file)

    def log(self, row: Mapping[str, Any]) -> None:
        self._writer.writerow([row["stage"], row["step"], row.get("reward/total"), row.get("accuracy")])
        self._file.flush()

    def close(self) -> None:
        self._file.close()
