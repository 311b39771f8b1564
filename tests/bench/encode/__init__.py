"""How fast rows become tokens: beside transformers alone, by the length of a row, and in how much memory."""
