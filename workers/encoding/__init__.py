"""Encoding: files become rows of tokens on a processor, before any device is taken.

May import: `workers.contract`, `workers.storage`, `workers.hub`, `workers.data`, `workers.tasks`, transformers. No
weights of a base are read.

Invariants
- One process encodes (`process`), another watches it (`encoder`) and answers at once, whatever a row does.
- A row that takes too long ends its file with the row's line. A process that dies or hangs is the machine's failure.
- What is stored is complete or not there, and equal orders store equal bytes.
"""
