"""Fused training: many seats' adapters in every forward and backward pass of one resident base.

May import: `workers.*` except `workers.host` and the other lanes; torch.

- `stack` keeps the adapters of equal rank and targets as rows of one tensor, gradients likewise.
- `routing` says which rows of a fused micro-batch belong to which seats; `delta` is the arithmetic of one linear, and
  `linears` hooks it onto the base, whatever its architecture and quantization.
- `select_batch` (pure) chooses the seats that share a pass, by the tokens that `fair_queue` counted; `accumulation`
  keeps a seat's window; `stepper` joins them behind `workers.engine.stepper.Stepper`.
- `knee` measures how many tokens are worth sharing, `footprint` (with `peak`) what a pass takes for each; `budget`
  (pure) chooses from both, `memory_budget` keeps it in step with the seats, and `recompute` switches the passes that
  must.

Invariants
- The base's weights take no part in autograd; adapters' gradients are written straight into their stack's rows.
- A seat's numbers depend on its own rows alone: masks, normalization, clipping and optimizer are its own, and its pads
  and its neighbors' rows contribute nothing.
- A pass that fails is undone for every seat in it and repeated seat by seat, so only the guilty one ends.
"""

from workers.lanes.fused.stepper import FusedStepper

__all__ = ["FusedStepper"]
