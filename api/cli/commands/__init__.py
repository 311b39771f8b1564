"""The commands of `orchard`, one module per subject. Each is argument parsing and one call; no logic lives here."""
