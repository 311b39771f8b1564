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
class Advice:
    """Whose fault, and what the job's owner does now. `{job}` stands for the job's id."""

    party: Party
    todo: str


_LINES: Final = "correct the rows that `orchard issues {job}` lists, then submit again"
_OTHER_BASE: Final = (
    "tell your operator, whose `orchard doctor` looks closer; until then take another of `orchard bases`"
)
_AGAIN: Final = "submit again; if it fails the same way, tell your operator this job's id"

ADVICE: Final = {
    "invalid_training_file": Advice(Party.YOU, _LINES),
    "invalid_validation_file": Advice(Party.YOU, _LINES),
    "invalid_target_modules": Advice(
        Party.YOU, "leave target_modules out to adapt all linears, or name some that `orchard bases -o json` lists"
    ),
    "non_finite_loss": Advice(
        Party.YOU, "lower the learning rate, or correct the rows that `orchard logs {job}` names, then submit again"
    ),
    "max_runtime_exceeded": Advice(Party.YOU, "submit again with a larger max_runtime_s or fewer epochs"),
    "out_of_memory": Advice(
        Party.OPERATOR, "submit again with a smaller batch_size or max_seq_len, and tell your operator this job's id"
    ),
    "base_unavailable": Advice(Party.OPERATOR, _OTHER_BASE),
    "base_unusable": Advice(Party.OPERATOR, _OTHER_BASE),
    "base_refused": Advice(Party.OPERATOR, _OTHER_BASE),
    "base_digest_mismatch": Advice(Party.OPERATOR, _OTHER_BASE),
    "no_gradient": Advice(Party.OPERATOR, _OTHER_BASE),
    "registry_refused": Advice(Party.OPERATOR, "tell your operator this job's id; the adapter is safe in storage"),
    "adapter_refused": Advice(Party.SERVICE, _AGAIN),
    "storage_unavailable": Advice(Party.SERVICE, _AGAIN),
    "encoded_rows_lost": Advice(Party.SERVICE, _AGAIN),
    "encoding_failed": Advice(Party.SERVICE, _AGAIN),
    "host_full": Advice(Party.SERVICE, _AGAIN),
    "host_lost": Advice(Party.SERVICE, _AGAIN),
    "internal_error": Advice(Party.SERVICE, _AGAIN),
}
UNKNOWN: Final = Advice(Party.SERVICE, "see `orchard logs {job}`; if that does not explain it, tell your operator")
"""Of a code that a newer server has and this client does not know."""


def advice_for(code: str) -> Advice:
    """The advice on a job that failed with `code`."""
    return ADVICE.get(code, UNKNOWN)
