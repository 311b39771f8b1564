"""The catalogue: which bases an operator offers, in which precisions, and on which flavors of device they may run.

May import: `workers.contract`, PyYAML; `gguf` and `huggingface_hub` lazily, where a base has to be read. No database:
the catalogue is a file, the same for every process. No torch: of weights only names and sizes are read.

Invariants
- A tenant names bases by catalogue id only; a source, folder or URL never comes from a request.
- A catalogue that does not parse stops the process at its start, with every error and its line.
- A base that the service cannot train is refused when it is read, with the reason, not when a host tries to load it.
- No process asks the network for its catalogue; only `orchard catalogue add` asks the hub.
"""
