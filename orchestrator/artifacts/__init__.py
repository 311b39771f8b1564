"""What training leaves: tuned models, adapters as archives, result files, checkpoints shared with other tenants.

May import: `orchestrator.checkpoints`, `orchestrator.queries`, `orchestrator.lifecycle`, `orchestrator.storage`.

Invariants
- A model is found by its owner, and a checkpoint by its owner and by those it was shared with.
- A stream of bytes has the length that was announced, or breaks off.
"""
