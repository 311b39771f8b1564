"""Data: JSONL rows become tokens once, before the first step, and batches in an order that only the seed decides.

May import: `workers.contract`, `workers.storage`, torch. Tokenizers arrive as arguments.

Invariants
- Every bad row is reported with its line, not only the first; nothing is truncated or dropped without being counted.
- Loss falls on assistant turns (chat), on the completion (prompt/completion) or on every token (text), with its
  end, and never on BOS or pads.
- The tokens of a text decode to it; BOS and EOS are there once at most; no text spells a special token unasked.
- The order of rows is a pure function of (seed, epoch): resuming needs nothing but the step.
"""
