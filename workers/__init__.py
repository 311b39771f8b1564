"""Workers train: a host keeps one quantized base resident and gives seats on it to many jobs.

May import: `workers.*` and the training stack (torch, transformers, peft, bitsandbytes). Never `api`, `orchestrator`,
SQLAlchemy, FastAPI or MLflow.

Invariants
- A worker holds no control-plane credential: it is told (`attach`, `detach`) and asked (`poll`); it never calls up.
- It reads and writes only below the storage prefixes named in its `JobSpec`.
- The base is read-only: one tenant's seat cannot change what another tenant's seat computes.
- `workers.contract` and `workers.actor` import no torch, so the control plane can speak to workers without it.
"""
