"""Reading: jobs, events, checkpoints and hosts as their owners and operators see them, and why a job waits.

May import: `orchestrator.db`, `orchestrator.lifecycle`, `orchestrator.catalogue`, `workers.contract`. Writes nothing.

Invariants
- Another tenant's job is one that does not exist.
- Of other tenants' jobs an owner learns counts (`why`) and nothing else.
"""
