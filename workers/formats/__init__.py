"""Formats: from the bytes of a file to rows of `workers.contract.rows`. One pure pipeline for upload, host and CLI.

Bytes are told by their content, never by a name: `sniff` → `decompression` → `encoding` → a container (`lines`,
`json_array`, `csv_table`, `parquet`) gives records; a shape (`shapes/`, one file each) turns a record into the dict of
a row model; `reading` runs all of it and checks bounds and models.

May import: `workers.contract`; pyarrow, but only once a file is Parquet or zstd. No torch, no transformers, no network.

Invariants
- No converted copy is stored. The same bytes and the same `format` always give the same rows, on every machine.
- A file is never whole in memory, nor is a row larger than `MAX_ROW_BYTES`. What decompression may yield is bounded.
- Nothing is guessed. What fits two shapes is refused as `ambiguous_format`, and the owner names one.
- Whatever the bytes are, they give rows and issues, and no other error than those of the machine.
"""
