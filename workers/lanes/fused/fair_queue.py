"""Fair shares: tokens served, by tenant and by seat, as in weighted fair queueing (SIGCOMM'89)."""

from dataclasses import dataclass, field


@dataclass
class FairQueue:
    """Who has been served how much. A tenant's tokens count 1 / its weight, so that twice the weight earns twice as
    many. A newcomer starts level with the one served least, so it cannot claim the past: a tenant among tenants, a seat
    among its tenant's.
    """

    _tenant_of: dict[str, str] = field(default_factory=dict)
    _weights: dict[str, int] = field(default_factory=dict)
    _tenants: dict[str, float] = field(default_factory=dict)
    _seats: dict[str, float] = field(default_factory=dict)

    def enter(self, seat: str, tenant: str, weight: int = 1) -> None:
        """A seat of `tenant` joins. From now on its tenant has `weight`: the newest seat knows best."""
        if tenant not in self._tenants:
            self._tenants[tenant] = min(self._tenants.values(), default=0.0)
        rivals = [name for name, owner in self._tenant_of.items() if owner == tenant] or self._seats
        self._seats[seat] = min((self._seats[name] for name in rivals), default=0.0)
        self._tenant_of[seat] = tenant
        self._weights[tenant] = weight

    def leave(self, seat: str) -> None:
        """A seat is gone; its tenant is forgotten with its last one."""
        tenant = self._tenant_of.pop(seat)
        del self._seats[seat]
        if tenant not in self._tenant_of.values():
            del self._tenants[tenant], self._weights[tenant]

    def serve(self, seat: str, tokens: int) -> None:
        """Enter tokens that the seat was served."""
        tenant = self._tenant_of[seat]
        self._seats[seat] += tokens
        self._tenants[tenant] += tokens / self._weights[tenant]

    def served(self, seat: str) -> tuple[float, float]:
        """(the tenant's tokens over its weight, the seat's tokens)."""
        return self._tenants[self._tenant_of[seat]], self._seats[seat]
