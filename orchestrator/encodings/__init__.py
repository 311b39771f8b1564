"""Encodings: files as rows of tokens, made by encoders while their jobs are VALIDATING, and stored once by content.

May import: `orchestrator.files`, `orchestrator.lifecycle`, `orchestrator.cluster`, `orchestrator.storage`,
`workers.contract`. No tokenizer.

Invariants
- A key names content, base, task, options and tenant (`keys`): equal keys mean equal rows, of one tenant.
- The row is there before the first byte and gone after the last (`gc`).
- Tenants take turns for encoders (`claims`), and a job's files go to one encoder together.
- A file's own errors end its jobs once; whatever happens to an encoder is retried (`settle`) and told to nobody.
"""
