"""The commands of `orchard`, one module a subject. Each parses arguments and makes one call; no logic is here."""
