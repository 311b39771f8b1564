"""What became, or must become, of one cell."""

from dataclasses import dataclass

from tests.builders.families import families, family_tokenizer
from tests.training.golden.spans import trained_by


@dataclass(frozen=True)
class Outcome:
    """Either tokens or the code of a refusal."""

    code: str | None = None
    ids: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    noted: frozenset[str] = frozenset()
    """Parts that the template leaves out and that are only noted, as dotted paths."""


def trained_text(family: str, outcome: Outcome) -> list[str]:
    """The text of each run of tokens that carry loss."""
    return trained_by(family_tokenizer(family), outcome.ids, outcome.weights)


def ends_open(family: str, outcome: Outcome) -> bool:
    """Whether the last answer is trained without a token that ends it."""
    return not trained_text(family, outcome)[-1].rstrip().endswith(families()[family].specials)


def word(family: str, outcome: Outcome) -> str:
    """One cell of the table."""
    if outcome.code:
        return f"refused: {outcome.code}"
    remarks = sorted({"reasoning" if "reasoning" in path else path.rsplit(".", 1)[-1] for path in outcome.noted})
    remarks = [f"{remark} noted" for remark in remarks]
    if ends_open(family, outcome):
        remarks.append("no stop")
    return "; ".join(["trained", *remarks])
