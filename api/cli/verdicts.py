"""Whose fault the end of a job is, and what to do about it, by the code of its error. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Party(StrEnum):
    """Who can change what went wrong."""

    YOU = "yours: the job cannot succeed as it was submitted"
    OPERATOR = "your operator's: the job is not at fault"
    SERVICE = "the service's: the job is not at fault"


@dataclass(frozen=True)
class Verdict:
    """Whose fault, and what the job's owner does now. `{job}` stands for the job's id."""

    party: Party
    todo: str


_LINES: Final = "correct the rows that `orchard logs {job}` names, then submit again"
_OTHER_BASE: Final = (
    "tell your operator, whose `orchard doctor` looks closer; until then take another of `orchard bases`"
)
_AGAIN: Final = "submit again; if it fails the same way, tell your operator this job's id"

VERDICTS: Final = {
    "invalid_training_file": Verdict(Party.YOU, _LINES),
    "invalid_validation_file": Verdict(Party.YOU, _LINES),
    "invalid_target_modules": Verdict(
        Party.YOU, "leave target_modules out to adapt all linears, or name some that `orchard bases -o json` lists"
    ),
    "non_finite_loss": Verdict(
        Party.YOU, "lower the learning rate, or correct the rows that `orchard logs {job}` names, then submit again"
    ),
    "max_runtime_exceeded": Verdict(Party.YOU, "submit again with a larger max_runtime_s or fewer epochs"),
    "out_of_memory": Verdict(
        Party.OPERATOR, "submit again with a smaller batch_size or max_seq_len, and tell your operator this job's id"
    ),
    "base_unavailable": Verdict(Party.OPERATOR, _OTHER_BASE),
    "base_unusable": Verdict(Party.OPERATOR, _OTHER_BASE),
    "base_refused": Verdict(Party.OPERATOR, _OTHER_BASE),
    "base_digest_mismatch": Verdict(Party.OPERATOR, _OTHER_BASE),
    "no_gradient": Verdict(Party.OPERATOR, _OTHER_BASE),
    "registry_refused": Verdict(Party.OPERATOR, "tell your operator this job's id; the adapter is safe in storage"),
    "adapter_refused": Verdict(Party.SERVICE, _AGAIN),
    "storage_unavailable": Verdict(Party.SERVICE, _AGAIN),
    "host_full": Verdict(Party.SERVICE, _AGAIN),
    "host_lost": Verdict(Party.SERVICE, _AGAIN),
    "internal_error": Verdict(Party.SERVICE, _AGAIN),
}
UNKNOWN: Final = Verdict(Party.SERVICE, "see `orchard logs {job}`; if that does not explain it, tell your operator")
"""Of a code that a newer server has and this client does not know."""


def verdict_of(code: str | None) -> Verdict:
    """The verdict on a job that failed with `code`."""
    return VERDICTS.get(code or "", UNKNOWN)
