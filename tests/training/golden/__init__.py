"""The golden suite: what every chat template that `trl` ships makes of every kind of conversation, and what is right.

`cases` are rows of our format, `right` says what each must become, from the stock templates, `trl`'s training
templates and the spans in `by_hand.yaml`; `seen` asks the encoder; `table` prints family by case
(`python -m tests.training.golden --markdown`).
"""
