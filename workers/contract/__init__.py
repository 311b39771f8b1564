"""The shared vocabulary of the control plane and the workers: specs, reports, errors, dataset rows, memory arithmetic.

May import: the standard library and pydantic, nothing else (`tests/unit/test_import_weight.py` holds it).

- `methods`, `tasks` and `lanes` say without torch what may be asked for; `workers.methods`, `workers.tasks` and
  `workers.lanes` do it.

Invariants
- Every model is frozen, refuses unknown fields, and is versioned by `CONTRACT_VERSION`.
- Every report names the job, the attempt and the lease token it speaks for, so a stale worker can be ignored.
- Names carry their units: `_s`, `_bytes`, `_tokens`, `_steps`.
"""

from typing import Final

CONTRACT_VERSION: Final = 1
