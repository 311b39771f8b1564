"""Webhooks: tenants are told when a job ends, at least once and with an id that stays the same over every try.

May import: `orchestrator.db`, `orchestrator.steps`, `orchestrator.tenancy`, cryptography, httpx2, standardwebhooks.

`outbox` writes a delivery in the transaction that ends its job, so neither exists without the other. `deliver` claims
what is due, sends it outside any transaction, and settles it; `delivery_policy` (pure) decides what follows an answer.
`addresses` and `send` keep a tenant's URL from reaching into our network.

Invariants
- One delivery per endpoint and job (a unique constraint), whatever dies.
- The process that claims a delivery counts its attempts up, and settles it only under that number.
- A secret leaves this room in the answer that made it and in signatures, never in a view, an error or a log.
- No address is connected to that was not checked in the same attempt.
"""
