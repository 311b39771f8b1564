"""`python -m tests.training.golden`: what the encoder makes of every cell, and which cells are not what is right."""

import argparse
import sys

from tests.training.golden.outcome import Outcome, trained_text, word
from tests.training.golden.right import right
from tests.training.golden.seen import seen
from tests.training.golden.table import differing, document, markdown


def main() -> int:
    """Print the table or the differing cells. 1 where a cell differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.training.golden", description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="print the table of docs/chat-templates.md")
    parser.add_argument("--write", action="store_true", help="put that table into the page")
    asked = parser.parse_args()
    if asked.markdown:
        print(markdown(seen), end="")
    if asked.write:
        document(markdown(seen))
    wrong = differing(seen, right)
    for family, case in wrong:
        print(f"{family} x {case}: {_shown(family, seen(family, case))}", file=sys.stderr)
        print(f"    right: {_shown(family, right(family, case))}", file=sys.stderr)
    print(f"{len(wrong)} cells are not what is right.", file=sys.stderr)
    return bool(wrong)


def _shown(family: str, outcome: Outcome) -> str:
    trained = "" if outcome.code else f" {trained_text(family, outcome)} of {len(outcome.ids)} tokens"
    return word(family, outcome) + trained


if __name__ == "__main__":
    sys.exit(main())
