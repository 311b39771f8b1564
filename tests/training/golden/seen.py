"""What the service's encoder makes of a case on a family."""

from functools import cache
from typing import Any

from pydantic import ValidationError

from tests.builders.families import family_tokenizer
from tests.training.golden.cases import CASES, Row
from tests.training.golden.outcome import Outcome
from tests.training.golden.right import DAY
from workers.contract.rows import ChatRow
from workers.contract.spec import TextOptions
from workers.data.text_encoder import TextEncoder
from workers.data.tokens import UnusableRow


@cache
def seen(family: str, case: str) -> Outcome:
    """What the encoder makes of a case under the default options."""
    return encoded(family, CASES[case])


def encoded(family: str, row: Row, **options: Any) -> Outcome:
    """What the encoder returns or refuses. A row that is refused before it is encoded has the code of its model."""
    try:
        tokens = TextEncoder(family_tokenizer(family), None, TextOptions(created_on=DAY, **options))(
            ChatRow.model_validate(row)
        )
    except ValidationError as error:
        return Outcome(code=error.errors()[0]["type"])
    except UnusableRow as error:
        return Outcome(code=error.code)
    weights = tuple(float(weight) for weight in tokens.weights)
    return Outcome(ids=tuple(tokens.ids), weights=weights, noted=frozenset(tokens.dropped))
