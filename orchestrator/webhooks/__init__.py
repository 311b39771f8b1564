"""Webhooks: tenants are told when a job ends, at least once and with an id that stays the same over every try.

May import: `orchestrator.db`, `orchestrator.db.states`, `orchestrator.tenancy`, cryptography, httpx2,
standardwebhooks.

A delivery is born in the transaction that ends its job (`outbox`), so the one is never there without the other.
`deliver` claims what is due, sends it outside any transaction, and settles it; what becomes of a delivery after an
answer is the pure decision of `decision`. `addresses` and `send` keep a tenant's URL from reaching into our network.

Invariants
- One delivery per endpoint and job (a unique constraint), whatever dies.
- Who claims a delivery counts its attempts up, and settles it only under that number.
- A secret leaves this room in the answer that made it and in signatures, never in a view, an error or a log.
- No address is connected to that was not checked in the same attempt.
"""
