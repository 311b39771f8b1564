"""The demo: three tenants fine-tune a real base through the API and find their adapters in MLflow.

`python -m api.demo` (`make demo`) shows the whole path on one machine, with a stock OpenAI client.
May import: openai, rich, `orchestrator.embedded`, `workers.contract`. Answers of base and adapter come from a process
of their own (`workers.sample`), so no torch is loaded here.

Invariants
- The data sets are ours (data/*.jsonl); training and validation rows are disjoint.
- Everything that was started is stopped, whatever happened.
- The last line on stdout is one JSON object.
"""
