"""What training leaves: tuned models, adapters as archives, result files, checkpoints shared with other tenants.

May import: `orchestrator.checkpoints`, `orchestrator.files`, `orchestrator.queries`, `orchestrator.lifecycle`,
`orchestrator.tenancy`, `orchestrator.catalogue`, `orchestrator.storage`, `workers.contract`.

Invariants
- A model is found by its owner alone, a checkpoint by its owner and by the tenants it was shared with.
- A stream of bytes has the announced length, or breaks off.
"""
