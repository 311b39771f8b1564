"""Workers train: a host keeps one quantized base resident and seats many jobs on it.

May import: `workers.*` and the training stack (torch, transformers, peft, bitsandbytes). Never `api`, `orchestrator`,
SQLAlchemy, FastAPI or MLflow.

Invariants
- A worker holds no control-plane credential. It answers `attach`, `detach` and `poll`, and never calls out.
- It reads and writes only below the storage prefixes named in its `JobSpec`.
- The base is read-only: one tenant's seat cannot change what another tenant's seat computes.
- `workers.contract` and `workers.actor` import no torch, so the control plane can use them without it.
"""
