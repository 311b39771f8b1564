"""The fair queue: tokens served per tenant and per seat, as in weighted fair queueing (SIGCOMM'89)."""

from dataclasses import dataclass, field


@dataclass
class FairQueue:
    """Tokens served so far. A tenant's tokens are divided by its weight, so twice the weight gets twice the tokens.

    A new tenant starts at the lowest count of all tenants, and a new seat at the lowest of its tenant's seats, so
    neither can claim service from before it joined.
    """

    _tenant_of: dict[str, str] = field(default_factory=dict)
    _weights: dict[str, int] = field(default_factory=dict)
    _tenants: dict[str, float] = field(default_factory=dict)
    _seats: dict[str, float] = field(default_factory=dict)

    def enter(self, seat: str, tenant: str, weight: int = 1) -> None:
        """Add a seat of `tenant`. The newest seat's `weight` applies to the whole tenant."""
        if tenant not in self._tenants:
            self._tenants[tenant] = min(self._tenants.values(), default=0.0)
        peers = [name for name, owner in self._tenant_of.items() if owner == tenant] or self._seats
        self._seats[seat] = min((self._seats[name] for name in peers), default=0.0)
        self._tenant_of[seat] = tenant
        self._weights[tenant] = weight

    def leave(self, seat: str) -> None:
        """Remove a seat, and its tenant with the tenant's last seat."""
        tenant = self._tenant_of.pop(seat)
        del self._seats[seat]
        if tenant not in self._tenant_of.values():
            del self._tenants[tenant], self._weights[tenant]

    def serve(self, seat: str, tokens: int) -> None:
        """Count tokens served to the seat."""
        tenant = self._tenant_of[seat]
        self._seats[seat] += tokens
        self._tenants[tenant] += tokens / self._weights[tenant]

    def served(self, seat: str) -> tuple[float, float]:
        """(the tenant's tokens divided by its weight, the seat's tokens)."""
        return self._tenants[self._tenant_of[seat]], self._seats[seat]
