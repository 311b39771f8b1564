# Everything sets itself up: a machine with Python >= 3.11 and make is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two processes; tests/conftest.py says what must share one.
TWO := -n 2 --dist loadgroup
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo up test check matrix bench bench-control bench-load bench-encode faults soak ledger simulate format clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(READY) ## Make the virtual environment and install everything, pinned

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Orchard needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing (a few minutes the first time) ..."
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[worker,embedded,demo,s3,dev]'
	@touch $@

demo: $(READY) ## Train six adapters of three tenants on one quantized base, through the API, and show the result
	$(BIN)/python -m api.demo

up: $(READY) ## Run the whole stack in the foreground; prints URLs and an admin key
	$(BIN)/orchard up

test: $(READY) ## Run every check and every test, on SQLite and PostgreSQL
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest $(TWO)

check: $(READY) ## The fast part: format, lint, types, imports, unit tests
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -m 'not slow' -q $(TWO)

.PHONY: lint
lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

matrix: $(READY) ## Run the whole matrix of fused training against stock PEFT, of which the tests run a pairwise part
	$(BIN)/python -m pytest tests/training/test_fused_equivalence.py -m 'slow or matrix' -q $(TWO)

bench: $(READY) ## Measure fused training beside what people use today; prints JSON (WORKLOAD=W1 QUANT=nf4)
	$(BIN)/python -m tests.bench.engine --workload $(or $(WORKLOAD),W1) --quant $(or $(QUANT),nf4) --peers ours,sequential,process --json

bench-control: $(READY) ## Measure the control plane on SQLite and PostgreSQL, submission to first step included; prints JSON
	$(BIN)/python -m tests.bench.control --live --json

faults: $(READY) ## Run the fault catalogue on SQLite and PostgreSQL; ends with one JSON line
	$(BIN)/python -m tests.faults

soak: $(READY) ## Submit steadily while something breaks every 30 s (MINUTES=10); ends with one JSON line
	$(BIN)/python -m tests.faults.soak --minutes $(or $(MINUTES),10)

ledger: $(READY) ## Kill at random moments and compare what tenants were told with what is (MINUTES=10); ends with one JSON line
	$(BIN)/python -m tests.faults.ledger --minutes $(or $(MINUTES),10)

bench-load: $(READY) ## Measure what one tenant waits beside many clients, streams and large uploads; prints JSON
	$(BIN)/python -m tests.bench.load --json

bench-encode: $(READY) ## Measure how fast rows become tokens, beside transformers alone; prints JSON
	$(BIN)/python -m tests.bench.encode --json

simulate: $(READY) ## Run the loops through faulty schedules in virtual time (SEEDS=1000); ends with one JSON line
	$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),1000)

.PHONY: methods-table
methods-table: $(READY) ## Write the table of methods in the docs anew
	$(BIN)/python -m tests.conformance.table

.PHONY: golden-table
golden-table: $(READY) ## Print what becomes of each kind of conversation on each model family, and keep it in the docs
	$(BIN)/python -m tests.training.golden --markdown --write

format: $(READY) ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove the environment, caches and the embedded stack's data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .orchard
