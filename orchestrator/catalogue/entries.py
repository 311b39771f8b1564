"""What a catalogue holds: bases and flavors. `orchestrator.catalogue.file` reads them from YAML."""

from pydantic import Field, model_validator

from workers.contract.base import DECODER_LINEARS, BaseSpec, ComputeDtype, Quantization
from workers.contract.model import Frozen


class CatalogueBase(Frozen):
    """A base on offer."""

    spec: BaseSpec
    license: str | None = Field(None, description="SPDX id or name of the license the weights come under")
    quantizations: tuple[Quantization, ...] = Field(
        tuple(Quantization), min_length=1, description="allowed ones; the first is the default"
    )
    compute_dtype: ComputeDtype = ComputeDtype.BF16
    max_seq_len: int = Field(2048, ge=8, description="longest row a job may ask for, in tokens")
    target_modules: tuple[str, ...] = Field(
        DECODER_LINEARS, min_length=1, description="linears that may be adapted; all are by default"
    )

    @model_validator(mode="after")
    def _fits_the_positions(self) -> "CatalogueBase":
        if self.max_seq_len > self.spec.shape.max_positions:
            raise ValueError(f"max_seq_len {self.max_seq_len} exceeds max_positions {self.spec.shape.max_positions}")
        return self

    @property
    def id(self) -> str:
        """The name tenants use."""
        return self.spec.id


class Flavor(Frozen):
    """A kind of device: how many there are, how much memory each has, and what one host asks of Ray."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=63)
    device: str = Field("cpu", description="torch device of a host: `cpu` or `cuda`")
    memory_bytes: int = Field(gt=0, description="of one device")
    count: int = Field(ge=1, description="devices, and so hosts, of this flavor")
    max_seats: int = Field(16, ge=1, description="seats on one host")
    resources: dict[str, float] = Field(
        default_factory=lambda: {"CPU": 1.0},
        description="Ray resources of one host; Ray gives them to the next one when the process of the last has ended",
    )
    threads: int | None = Field(None, ge=1, description="CPU threads of one host; null: torch decides")


class Catalogue(Frozen):
    """All bases and flavors of an installation."""

    bases: tuple[CatalogueBase, ...] = Field(min_length=1)
    flavors: tuple[Flavor, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> "Catalogue":
        for kind, names in (("base", [b.id for b in self.bases]), ("flavor", [f.name for f in self.flavors])):
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"{kind} {sorted(twice)[0]!r} is listed twice")
        return self

    def base(self, base_id: str) -> CatalogueBase | None:
        """The base of that id, if it is on offer."""
        return next((base for base in self.bases if base.id == base_id), None)

    def flavor(self, name: str) -> Flavor | None:
        """The flavor of that name, if it is configured."""
        return next((flavor for flavor in self.flavors if flavor.name == name), None)

    def resources(self) -> dict[str, float]:
        """What Ray must have for a host on every device at once, and not for one more."""
        total: dict[str, float] = {}
        for flavor in self.flavors:
            for name, amount in flavor.resources.items():
                total[name] = total.get(name, 0) + flavor.count * amount
        return total
