"""`Refused`: why a base cannot be offered, in words for the operator."""


class Refused(Exception):
    """The base cannot be read or trained; the message says what is wrong with it and what to do."""

    def __init__(self, message: str, field: str = "source") -> None:
        super().__init__(message)
        self.field = field
        """Of the entry: the one to change."""
