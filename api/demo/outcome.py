"""The demo's results, for people (a table) and for programs (one JSON line)."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.characters import escaped


@dataclass(frozen=True)
class Result:
    """One job as it ended. Losses are nats per supervised token on the held-out file."""

    job: str
    tenant: str
    rank: int
    status: str
    eval_loss_before: float | None
    eval_loss_after: float | None
    model: str | None
    registry_name: str | None
    registry_version: str | None


@dataclass(frozen=True)
class Example:
    """A held-out prompt, the expected answer, and the answers of base and adapter."""

    prompt: str
    wanted: str
    base: str
    adapter: str


def print_table(console: Console, results: Sequence[Result], examples: Sequence[Example]) -> None:
    """One row per job, with a held-out prompt and the answers of base and adapter."""
    table = Table("TENANT", "RANK", "STATUS", "EVAL LOSS", "IN MLFLOW", "HELD-OUT PROMPT AND ANSWERS", show_lines=True)
    for index, result in enumerate(results):
        losses = f"{_loss(result.eval_loss_before)} → {_loss(result.eval_loss_after)}"
        where = f"{result.registry_name} v{result.registry_version}" if result.registry_name else "-"
        said = _said(examples[index]) if index < len(examples) else "-"
        table.add_row(*(Text(cell) for cell in (result.tenant, str(result.rank), result.status, losses, where, said)))
    console.print(table)


def json_line(base: str, results: Sequence[Result], seconds: float) -> str:
    """The last line of the demo."""
    succeeded = sum(result.status == "succeeded" for result in results)
    return json.dumps(
        {
            "jobs": len(results),
            "succeeded": succeeded,
            "base": base,
            "results": [asdict(result) for result in results],
            "seconds": round(seconds, 1),
        },
        ensure_ascii=False,
    )


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _said(example: Example) -> str:
    lines = {"prompt": example.prompt, "wanted": example.wanted, "base": example.base, "adapter": example.adapter}
    return "\n".join(f"{name:8}{escaped(' '.join(text.split())) or '(nothing)'}" for name, text in lines.items())
