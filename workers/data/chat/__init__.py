"""Chat rows to tokens, with the weight of each in the loss.

`encoder` is the way of a row through the other modules: `conversation` makes of it what templates take, `rendering`
renders it once, `skeleton` tells which text comes from which part of the row and what the template leaves out, `turns`
finds what the assistant says, `families` knows the templates that mark it themselves, and `tokenizing` makes tokens.
"""

from workers.data.chat.encoder import ChatEncoder
from workers.data.chat.families import marked_twin

__all__ = ["ChatEncoder", "marked_twin"]
