"""The catalogue: which bases an operator offers, in which precisions, and on which flavors of device they may run.

May import: `workers.contract`, PyYAML. No database: the catalogue is a file, the same for every process.

Invariants
- A tenant names bases by catalogue id only; a source, folder or URL never comes from a request.
- A catalogue that does not parse stops the process at its start, with the field named.
"""
