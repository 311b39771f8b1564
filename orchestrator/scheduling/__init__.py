"""Scheduling: which waiting job takes a seat on which host, which hosts start and which retire.

May import: `orchestrator.db`, `orchestrator.steps`, `orchestrator.catalogue`, `orchestrator.lifecycle`,
`orchestrator.bases`, `orchestrator.queries.blockers` (the kinds of reasons), `workers.contract`. No Ray.

Tenants take turns (`turns`); within a tenant, priority, then age. A job goes to a host that already holds its base in
its precision, for its task and lane; else a host starts on a free device where base and seat fit; else an idle host
makes room; else the job waits, with the reason written on it (`reasons`), and once it has been bypassed for too long a
host is kept free for it (`kept`).

Invariants
- `plan.plan` is pure and deterministic: the same snapshot gives the same actions.
- A device holds one host; the claims of a host's seats never exceed the device's memory.
- A tenant's priorities and the length of its queue change nothing for other tenants.
- A host that is kept free takes the job it is kept for, or nobody; running jobs are never stopped for it.
- Applying an action is one guarded write; the reasons of all waiting jobs are written together. The loops start and
  kill hosts later, from the rows.
"""
