"""The engine: what every attempt goes through on a host, whatever its lane, method and task.

May import: `workers.*` except `workers.lanes` and `workers.host`; torch, safetensors, bitsandbytes.

- `engine` decides what is done next and reports it; `attempt` is one try, `seat` its state while it trains.
- `stepper` is the one interface behind which training happens; `workers.lanes` implements it.
- What needs no model happens in `background` threads: `prefetcher` reads and tokenizes the rows of new seats
  (`prepare`), `saver` writes checkpoints and finished adapters (`export`).
- A `seat` says what is due after a step; `evaluation` runs in slices, `stopping` decides when to stop early.

Invariants
- What a seat computes depends on its own spec and step alone: neighbors, order and slot do not matter.
- Loss is the mean negative log-likelihood of the tokens of the seat's whole accumulation window, each by its weight:
  sum of weight x nll over sum of weights. Accuracy is the same mean; counts of tokens know no weights.
- Clipping, AdamW, schedule, dropout and evaluation are the seat's own.
- A seat that fails ends alone. So does one whose loss or gradient is not finite: no batch is skipped in silence.
- Only a single forward or backward pass of one seat delays another.
"""
