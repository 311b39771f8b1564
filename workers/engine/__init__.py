"""The engine: seats on one resident base, trained step by step.

May import: `workers.*` except `workers.host`; torch, peft, safetensors.

- `engine` decides what is done next and reports it; `stepper` is the one interface behind which training happens.
- `fused` implements it for many seats in one pass; `turns`, with stock PEFT and one seat at a time, is the reference
  it is audited against.
- What needs no model happens in `background` threads: `ahead` has newcomers read and tokenised (`prepare`), `saver`
  writes checkpoints and finished adapters (`export`).
- A `seat` says what it owes after a step; `evaluation` goes in slices, `stopping` decides when to stop early.

Invariants
- What a seat computes depends on its own spec and step alone: neighbours, order and slot do not matter.
- Loss is the negative log-likelihood of the seat's supervised tokens, summed over its whole accumulation window and
  divided by their number; clipping, AdamW, schedule, dropout and evaluation are the seat's own.
- A seat that fails ends alone. So does one whose loss or gradient is not finite: no batch is skipped in silence.
- No work of one seat but a single forward or backward pass holds up another.
"""
