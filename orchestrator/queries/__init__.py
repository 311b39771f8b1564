"""Reading: jobs, events, checkpoints and hosts as their owners and operators see them, and why a job waits.

May import: `orchestrator.db`, `orchestrator.bases`, `orchestrator.lifecycle`, `orchestrator.usage`,
`orchestrator.tenancy`, `workers.contract`. Writes nothing.

Invariants
- A tenant that asks for another tenant's job gets the answer for a job that does not exist.
- Of other tenants' jobs an owner learns counts (`why`) and nothing else.
"""
