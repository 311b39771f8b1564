"""Fused training: many seats' adapters in every forward and backward pass of one resident base.

May import: `workers.*` but `workers.host`; torch.

- `stack` keeps the adapters of equal rank and targets as rows of one tensor, gradients likewise.
- `routing` says which rows of a fused micro-batch belong to which seats; `delta` is the arithmetic of one linear, and
  `linears` hooks it onto the base, whatever its architecture and quantization.
- `select_batch` (pure) chooses who shares a pass, by the tokens `shares` says were served; `window` keeps a seat's
  accumulation; `stepper` puts them together behind `workers.engine.stepper.Stepper`.
- `knee` measures how many tokens are worth sharing, `footprint` (with `peak`) what a pass takes for each; `budget`
  (pure) chooses from both, `room` keeps it in step with the seats, and `recompute` switches the passes that must.

Invariants
- The base's weights take no part in autograd; adapters' gradients are written straight into their stack's rows.
- A seat's numbers depend on its own rows alone: masks, normalisation, clipping and optimizer are its own, and its pads
  and its neighbours' rows contribute nothing.
- A pass that fails is undone for everybody in it and repeated seat by seat, so only the guilty one ends.
"""

from workers.lanes.fused.stepper import FusedStepper

__all__ = ["FusedStepper"]
