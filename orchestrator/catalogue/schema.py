"""An entry of the catalogue file: a base as an operator writes it. An `id` and a `source` are enough."""

from pathlib import Path
from typing import Any, Final

from pydantic import Field, field_validator

from orchestrator.catalogue.entries import CatalogueBase, Flavor
from orchestrator.catalogue.inspect import inspect
from orchestrator.catalogue.refusal import Refused
from workers.contract.base import BaseShape, BaseSpec, ComputeDtype, Quantization
from workers.contract.model import Frozen

USUAL_SEQ_LEN: Final = 2048  # tokens; or what the base has positions for
LEAST_SEQ_LEN: Final = 8
LONGEST_ID: Final = 128
OF_SPEC: Final = ("id", "source", "revision", "weight_digest", "chat_template")
OF_OFFER: Final = ("license", "quantizations", "compute_dtype")


class Entry(Frozen):
    """A base as the file gives it."""

    id: str = Field(min_length=1, max_length=LONGEST_ID)
    source: str = Field(pattern=r"^(hf|file|gguf):.+")
    revision: str | None = None
    weight_digest: str | None = None
    chat_template: str | None = None
    license: str | None = None
    quantizations: tuple[Quantization, ...] = Field(tuple(Quantization), min_length=1)
    compute_dtype: ComputeDtype = ComputeDtype.BF16
    max_seq_len: int | None = Field(None, ge=LEAST_SEQ_LEN)
    target_modules: tuple[str, ...] | None = Field(None, min_length=1)
    shape: BaseShape | None = None

    @field_validator("source")
    @classmethod
    def _absolute(cls, source: str) -> str:
        scheme, _, location = source.partition(":")
        if scheme != "hf" and not Path(location).is_absolute():
            raise ValueError("needs an absolute path: processes with other working folders read it")
        return source

    def base(self) -> CatalogueBase:
        """The base on offer. Raises: Refused when it has to be read and cannot be, or cannot be trained."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in OF_OFFER}
        shape = self.shape
        if shape is None:
            facts = inspect(self.source, self.revision)
            shape = facts.shape
            fields |= {"license": self.license or facts.license, "target_modules": facts.target_modules}
        if self.target_modules is not None:
            fields["target_modules"] = self.target_modules
        length = self.max_seq_len or usual_seq_len(shape)
        if length > shape.max_positions:
            raise Refused(f"max_seq_len {length} exceeds the base's {shape.max_positions} positions")
        spec = BaseSpec(shape=shape, **{name: getattr(self, name) for name in OF_SPEC})
        return CatalogueBase(spec=spec, max_seq_len=length, **fields)


class File(Frozen):
    """The whole file. That its lists are not empty is asked apart: pydantic takes wrong items for missing ones."""

    bases: tuple[Entry, ...]
    flavors: tuple[Flavor, ...]


def entry_of(base: CatalogueBase) -> dict[str, Any]:
    """The entry of a base, with everything written out that is known."""
    offer = base.model_dump(mode="json", exclude={"spec"})
    fields = base.spec.model_dump(mode="json") | offer
    return {name: fields[name] for name in Entry.model_fields if fields[name] is not None}


def usual_seq_len(shape: BaseShape) -> int:
    """The longest row where the operator names none. Raises: Refused for a base with hardly a position."""
    if shape.max_positions < LEAST_SEQ_LEN:
        raise Refused(f"the base has {shape.max_positions} positions; {LEAST_SEQ_LEN} are the least")
    return min(USUAL_SEQ_LEN, shape.max_positions)
