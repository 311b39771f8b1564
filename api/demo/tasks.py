"""The tasks of the demo's tenants, and their data."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DATA: Final = Path(__file__).with_name("data")


@dataclass(frozen=True)
class Task:
    """One tenant and its data set: `data/<name>.train.jsonl` and `data/<name>.validation.jsonl`."""

    tenant: str
    name: str
    told: str
    """The task in one line."""

    @property
    def training_file(self) -> Path:
        """64 rows."""
        return DATA / f"{self.name}.train.jsonl"

    @property
    def validation_file(self) -> Path:
        """16 rows, none of them in the training file."""
        return DATA / f"{self.name}.validation.jsonl"

    def held_out(self) -> tuple[str, str]:
        """Prompt and expected answer of the first validation row."""
        with self.validation_file.open(encoding="utf-8") as file:
            question, answer = json.loads(file.readline())["messages"]
        return question["content"], answer["content"]


TASKS: Final = (
    Task("helpdesk", "triage", "sort support tickets into a team and an urgency, as JSON"),
    Task("builders", "commits", "turn a note on a change into a conventional commit"),
    Task("archive", "dates", "find the date in a sentence and write it as ISO 8601"),
)
RANKS: Final = (4, 16)
