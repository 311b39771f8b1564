"""Tenants, their API keys, and the tenant a key belongs to.

May import: `orchestrator.db`, `orchestrator.catalogue`, `orchestrator.errors`. No HTTP.

Invariants
- A key is shown once, when it is made; only its SHA-256 digest and a short prefix are stored. 256 random bits need no
  slow hash: there is nothing to guess.
- A tenant's key reaches that tenant alone; an admin key reaches no tenant's files or jobs.
- A revoked key is refused from the next request on.
"""
