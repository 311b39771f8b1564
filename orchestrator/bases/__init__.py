"""Bases that hosts found unusable: marked, kept from starting hosts, and taken up again when something has changed.

May import: `orchestrator.db`, `orchestrator.steps`, `orchestrator.catalogue`, `orchestrator.lifecycle`,
`workers.contract`. Not the cluster.

- `marks` writes and reads the marks; `identity` says what a mark is compared with: the catalogue's entry and the files.
- `end_waiting` ends the jobs that wait for a marked base; `review` lifts marks.

Invariants
- A mark is written in the transaction that begins to end the host that failed, so no pass between starts another.
- A machine's fault marks nothing: not an error that may pass, nor any error while another host holds the same base.
- No host starts for a marked base, and no job is accepted for it; each job that waits for it ends once.
"""
