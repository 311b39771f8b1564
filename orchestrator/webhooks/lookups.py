"""Resolves names of tenants' hosts, so that nobody waits for another tenant's slow names.

The system's resolver cannot be interrupted: one call may take half a minute. So each lookup has a thread of its own,
which is abandoned at the deadline, and a tenant's threads, abandoned ones too, are counted and bounded. There is no
pool and no queue that tenants share. The system's resolver is used, rather than a client for DNS alone, because an
installation's names may also come from its hosts file or its name service switch.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from orchestrator.slots import Slots

DEADLINE_S: Final = 3.0
LOOKUPS_PER_TENANT: Final = 8  # at once, abandoned ones among them

Resolve = Callable[[str, int], Sequence[str]]
"""(host, port) -> addresses as text. Blocks. Raises OSError or UnicodeError."""


class Unresolved(Exception):
    """The host's name could not be resolved."""


def resolve_by_system(host: str, port: int) -> list[str]:
    """The addresses that this machine's resolver gives. Raises: OSError."""
    return [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


@dataclass(frozen=True)
class Lookups:
    """The lookups of a process. Bounds how many a tenant has at once, and how long each is waited for."""

    resolve: Resolve = resolve_by_system
    deadline_s: float = DEADLINE_S
    per_tenant: int = LOOKUPS_PER_TENANT
    _slots: Slots = field(default_factory=Slots, repr=False)

    async def addresses(self, tenant_id: str, host: str, port: int) -> list[str]:
        """The addresses of `host`, at least one. Raises: Unresolved, with the reason as the tenant may read it."""
        if _is_address(host):
            return [host]
        if not self._slots.take(tenant_id, self.per_tenant):
            raise Unresolved(f"Not sent: {self.per_tenant} lookups of your hosts' names have not ended yet.")
        answer: Future[list[str]] = Future()
        try:
            threading.Thread(target=self._run, args=(answer, tenant_id, host, port), daemon=True).start()
        except RuntimeError:  # the machine has no more threads
            self._slots.give_back(tenant_id)
            raise Unresolved(Unresolved.__doc__) from None
        try:
            async with asyncio.timeout(self.deadline_s):
                found = await asyncio.wrap_future(answer)
        except TimeoutError:
            raise Unresolved(f"The host's name was not resolved within {self.deadline_s:g} s.") from None
        except (OSError, UnicodeError):
            raise Unresolved(Unresolved.__doc__) from None
        if not found:
            raise Unresolved(Unresolved.__doc__)
        return found

    def _run(self, answer: Future[list[str]], tenant_id: str, host: str, port: int) -> None:
        answer.set_running_or_notify_cancel()  # from here on the waiting side cannot cancel it, only leave
        try:
            answer.set_result(list(self.resolve(host, port)))
        except Exception as error:  # noqa: BLE001  # it belongs to the waiting side
            answer.set_exception(error)
        finally:
            self._slots.give_back(tenant_id)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


SYSTEM_LOOKUPS: Final = Lookups()
"""The lookups of this process by its machine's resolver. One for all senders: threads are the process's."""
