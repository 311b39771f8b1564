"""Scheduling: which waiting job takes a seat on which host, which hosts start and which retire.

May import: `orchestrator.db`, `orchestrator.catalogue`, `orchestrator.jobs`, `workers.contract`. No Ray.

The rule, for now: priority, then age. A job goes to a host that already holds its base in its precision; else a host
is started on a free device where base and seat fit; else an idle host makes room; else the job waits,
with the reason written on it.

Invariants
- `plan.plan` is pure and deterministic: the same snapshot gives the same actions.
- A device holds one host; the claims of a host's seats never exceed the device's memory.
- Applying an action is one guarded write; the reasons of all who wait are written together. Hosts are started and
  killed later, by the loops, from the rows.
"""
