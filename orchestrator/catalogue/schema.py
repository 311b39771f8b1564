"""An entry of the catalogue file: a base as an operator writes it. An `id` and a `source` are enough."""

from pathlib import Path
from typing import Any, Final

from pydantic import Field, field_validator

from orchestrator.catalogue.entries import CatalogueBase, Flavor
from orchestrator.catalogue.facts import BaseFacts
from orchestrator.catalogue.hub import is_cached
from orchestrator.catalogue.inspect import inspect
from orchestrator.catalogue.refusal import Refused
from workers.contract.base import BaseShape, BaseSpec, ComputeDtype, Quantization
from workers.contract.model import Frozen

USUAL_SEQ_LEN: Final = 2048  # tokens; or what the base has positions for
LEAST_SEQ_LEN: Final = 8
LONGEST_ID: Final = 128
OF_SPEC: Final = ("id", "source", "revision", "weight_digest", "chat_template")
MORE: Final = 1.01  # weights in the files for each that a handwritten shape counts


class Entry(Frozen):
    """A base as the file gives it."""

    id: str = Field(min_length=1, max_length=LONGEST_ID)
    source: str = Field(pattern=r"^(hf|file|gguf):.+")
    revision: str | None = None
    weight_digest: str | None = None
    chat_template: str | None = None
    license: str | None = None
    quantizations: tuple[Quantization, ...] | None = Field(None, min_length=1)
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
        if self.shape is None:
            facts = inspect(self.source, self.revision)
            self.compare(facts)
            offer = {
                "license": self.license or facts.license,
                "quantizations": self.quantizations or facts.quantizations,
                "target_modules": self.target_modules or facts.target_modules,
            }
            return self._offered(facts.shape, offer)
        offer = {
            "license": self.license,
            "quantizations": self.quantizations or tuple(Quantization),
            "target_modules": self.target_modules or self._linears(self.shape),
        }
        return self._offered(self.shape, offer)

    def check(self) -> None:
        """Read a base whose shape is written down too, where this machine has its files. Raises: Refused."""
        if self.shape is None or (self.source.startswith("hf:") and not is_cached(self.source, self.revision)):
            return  # `base` reads it; or hosts fetch it
        facts = inspect(self.source, self.revision)
        self.compare(facts)
        if facts.shape.parameters > MORE * self.shape.parameters:
            said, found = self.shape.parameters, facts.shape.parameters
            raise Refused(f"`parameters` is {said}, but the files hold {found} weights: memory would run out", "shape")
        if facts.shape.decoder is not None and self.shape.decoder != facts.shape.decoder:
            raise Refused(f"the model holds other networks too; add `decoder: {facts.shape.decoder}`", "shape")

    def compare(self, facts: BaseFacts) -> None:
        """Raises: Refused for what the entry promises and the base does not have."""
        if unknown := [name for name in self.target_modules or () if name not in facts.target_modules]:
            has = ", ".join(facts.target_modules)
            raise Refused(f"the base has no linear named {', '.join(unknown)}; it has {has}", "target_modules")
        if unfit := [each for each in self.quantizations or () if each not in facts.quantizations]:
            share = facts.experts / facts.shape.parameters
            held = f"{share:.0%} of its weights are experts, which are not quantized; write `quantizations: [none]`"
            raise Refused(f"it cannot be held as {', '.join(unfit)}: {held}", "quantizations")

    def _linears(self, shape: BaseShape) -> tuple[str, ...]:
        """The names of its linears: of the shape, else of its files where they are here, else of a gated decoder."""
        if shape.adaptable is None:
            try:
                return inspect(self.source, self.revision).target_modules
            except Refused:  # its machine may be another one; `check` tells
                pass
        return shape.linear_names

    def _offered(self, shape: BaseShape, offer: dict[str, Any]) -> CatalogueBase:
        length = self.max_seq_len or usual_seq_len(shape)
        if length > shape.max_positions:
            raise Refused(f"max_seq_len {length} exceeds the base's {shape.max_positions} positions", "max_seq_len")
        spec = BaseSpec(shape=shape, **{name: getattr(self, name) for name in OF_SPEC})
        return CatalogueBase(spec=spec, max_seq_len=length, compute_dtype=self.compute_dtype, **offer)


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
