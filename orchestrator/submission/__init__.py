"""Submission: from the body of a POST to a job that waits for its files to be checked.

May import: `orchestrator.catalogue`, `orchestrator.files`, `orchestrator.lifecycle`, `orchestrator.queries`,
`orchestrator.storage`, `orchestrator.tenancy`, `workers.contract`. No Ray, no MLflow, no HTTP.

Invariants
- Submission loads (`context`, `datasets`), decides (`resolve`, pure) and writes the job with its first event in one
  transaction (`submit`).
- A POST that is repeated, by its Idempotency-Key or as OpenAI's clients repeat it, makes no second job
  (`idempotency`).
- Every data error that can be found without a tokenizer is found before the job is queued (`validate`).
"""
