"""How fast the engine is, beside what people use today: `python -m tests.bench.engine`, `python -m tests.bench.attach`.

Peers train the same jobs on the same base bytes, dtype and adapters, without dropout; they see the same tokens in the
same order; they alternate within one run. Only real tokens are counted, never pads.
"""

import os

# Before torch loads OpenMP: threads that wait by spinning take the cores from whoever else runs, and with one busy
# neighbour a small product then takes fifteen times as long. Sleeping costs little on a quiet machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
