"""`Refused`: why a base cannot be offered, in words for the operator."""


class Refused(Exception):
    """The base cannot be read or trained; the message says what is wrong with it and what to do."""
