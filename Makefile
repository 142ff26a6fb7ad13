# openeni: `make help` lists what can be done here. Everything sets itself up on a fresh machine.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := operator nodeagent crds lab tests
FAST := not root and not cluster and not cloud and not lab and not ipvlan

.PHONY: help setup build check lint types contracts generated fast test demo bench \
	generate lock format clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sort | \
		awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(READY) ## Make the Python environment from requirements.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "openeni needs Python 3.11 or newer as $(PYTHON); set PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "Python has no ensurepip: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

build: $(READY) ## Install and build what lab, tests and benchmarks run, or what is missing of it (root)
	$(BIN)/openeni-lab build

check: lint types contracts generated fast ## Format, lint, types, contracts, generated files, fast tests

lint: $(READY)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

types: $(READY)
	$(BIN)/mypy
	$(BIN)/pyright

contracts: $(READY)
	$(BIN)/lint-imports

generated: $(READY)
	$(BIN)/python -m openeni_crds.schema --check

fast: $(READY)
	@command -v cc > /dev/null || \
		{ echo "the CNI executable needs a C compiler: apt-get install gcc libc6-dev"; exit 1; }
	$(BIN)/python -m pytest -q -m "$(FAST)" tests

test: build ## Pass the tests: real API server, real OpenStack, real kernels (root)
	$(BIN)/python -m pytest -m "not ipvlan and not inside" tests
	$(BIN)/openeni-lab kernel -- $(BIN)/python -m pytest -p no:cacheprovider -m ipvlan tests

demo: $(READY) ## Run the main job on an embedded cluster and cloud (root, no account)
	$(BIN)/openeni-lab demo

bench: build ## Measure CNI ADD and DEL beside the reference plugins; writes docs/benchmarks.md
	$(BIN)/python -m openeni_lab.bench

generate: $(READY) ## Write the generated files (CRDs and their copies in the chart)
	$(BIN)/python -m openeni_crds.schema

lock: $(READY) ## Lock the newest allowed versions of every dependency
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --upgrade --generate-hashes \
		--no-emit-index-url --no-header --quiet --output-file requirements.lock

format: $(READY) ## Format the sources
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

clean: ## Remove what was made in the checkout
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
