"""Fair shares: tokens served, by tenant and by seat."""

from dataclasses import dataclass, field


@dataclass
class Shares:
    """Who has been served how much. A newcomer starts level with the one served least, so it cannot claim the past."""

    _tenant_of: dict[str, str] = field(default_factory=dict)
    _tenants: dict[str, float] = field(default_factory=dict)
    _seats: dict[str, float] = field(default_factory=dict)

    def enter(self, seat: str, tenant: str) -> None:
        """A seat of `tenant` joins."""
        if tenant not in self._tenant_of.values():
            self._tenants[tenant] = min((self._tenants[t] for t in set(self._tenant_of.values())), default=0.0)
        self._seats[seat] = min((served for name, served in self._seats.items()), default=0.0)
        self._tenant_of[seat] = tenant

    def leave(self, seat: str) -> None:
        """A seat is gone; its tenant is forgotten with its last one."""
        tenant = self._tenant_of.pop(seat)
        del self._seats[seat]
        if tenant not in self._tenant_of.values():
            del self._tenants[tenant]

    def serve(self, seat: str, tokens: int) -> None:
        """Enter tokens that the seat was served."""
        self._seats[seat] += tokens
        self._tenants[self._tenant_of[seat]] += tokens

    def served(self, seat: str) -> tuple[float, float]:
        """(tenant's, seat's) tokens."""
        return self._tenants[self._tenant_of[seat]], self._seats[seat]
