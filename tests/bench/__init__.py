"""How fast the engine is, beside what people use today: `python -m tests.bench.engine`, `python -m tests.bench.attach`.

Peers train the same jobs on the same base bytes, dtype and adapters, without dropout; they see the same tokens in the
same order; they alternate within one run. Only real tokens are counted, never pads.
"""

import os

from workers.actor import SPIN_COUNT

# Before torch loads OpenMP, and as a host does it (`workers.actor`).
os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))
