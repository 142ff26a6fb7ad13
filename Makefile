# openeni: `make help` lists the targets. Each sets up what it needs, even on a fresh machine.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LAB := $(BIN)/openeni-lab
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
READY := $(VENV)/.ready
DEV := $(VENV)/.ready-dev
SOURCES := operator nodeagent crds kube lab helm tests
FAST := not images and not root and not cluster and not cloud and not lab and not ipvlan and not network
WORKERS ?= 3
BEGUN := $(shell date +%s)
DISTRO ?= bookworm
BASE ?=
T ?=

.PHONY: help images test-images prepare prepare-all up down status logs shell demo test fresh load \
	bench check lint types contracts generated fast generate manifests lock format clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | \
		awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# -- a lab ---------------------------------------------------------------------------------------

demo: prepare ## Try openeni with Kubernetes, OpenStack and pods on this machine (root, no account)
	$(LAB) demo --since $(BEGUN)

up: prepare ## Start a lab with openeni in it
	$(LAB) up

down: $(READY) ## Stop and remove the lab; built programs stay in the cache
	$(LAB) down

status: $(READY) ## Show the lab's programs, their memory and disk
	@$(LAB) status

logs: $(READY) ## Show the path and the last lines of each of the lab's logs
	@$(LAB) logs

shell: $(READY) ## Open a shell in the lab: `kubectl` and `openstack` work there
	@$(LAB) shell

prepare: $(READY) ## Install and build what labs need; shows the plan first
	$(LAB) prepare

prepare-all: $(DEV) ## Install and build what labs, tests and benchmarks need
	$(LAB) prepare --all

test-images: prepare-all ## Build the container images twice and test them (root, buildah, mmdebstrap)
	$(BIN)/python -m pytest -m images tests/images

images: $(READY) ## Build the container images into build/images (root, buildah, mmdebstrap); BASE=... replaces Debian's root
	$(BIN)/python -m openeni_lab.images.command --base=$(BASE)

# -- tests and gates -----------------------------------------------------------------------------

test: prepare-all ## Run the whole test suite on a real lab (root); T=tests/operator runs a part
	PYTHONPATH=tests $(BIN)/python -m openeni_testing.suite $(T)

check: $(DEV) ## Check format, lint, types and contracts, and run the fast tests
	@$(MAKE) --no-print-directory --jobs=3 --output-sync=line fast types lint contracts generated

fresh: ## Run demo, check and a lab test on a bare Debian (root); DISTRO=bookworm or trixie
	PYTHONPATH=tests:lab $(PYTHON) -m openeni_testing.fresh.root --distro $(DISTRO)

load: prepare-all ## Run the whole suite three times under CPU load (hours, root)
	PYTHONPATH=tests $(BIN)/python -m openeni_testing.load

bench: prepare-all ## Compare CNI ADD and DEL with reference plugins; writes docs/benchmarks.md
	$(BIN)/python -m openeni_lab.bench.command

lint: $(DEV)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

types: $(DEV)
	$(BIN)/mypy
	$(BIN)/pyright

contracts: $(DEV)
	$(BIN)/lint-imports

generated: $(DEV)
	$(BIN)/python -m openeni_crds.schema --check
	PYTHONPATH=helm $(BIN)/python -m openeni_chart.schema --check

fast: $(DEV)
	@command -v cc > /dev/null || \
		{ echo "the CNI executable needs a C compiler: apt-get install gcc libc6-dev"; exit 1; }
	@# pytest rewrites every test module; without its bytecode each worker does it again
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q -n $(WORKERS) -m "$(FAST)" tests

# -- the Python environment, generated files -----------------------------------------------------

$(VENV)/bin/uv: requirements-uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "openeni needs Python 3.11 or newer as $(PYTHON); set PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "Python has no ensurepip: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --requirement requirements-uv.lock
	@touch $@

$(READY): $(VENV)/bin/uv requirements.lock pyproject.toml
	$(UV) --require-hashes --requirement requirements.lock
	$(UV) --no-deps --editable .
	@touch $@

$(DEV): $(READY) requirements-dev.lock
	$(UV) --require-hashes --requirement requirements-dev.lock
	@touch $@

generate: $(DEV) ## Write the generated files (CRDs, the chart's schema and docs/values.md)
	$(BIN)/python -m openeni_crds.schema
	PYTHONPATH=helm $(BIN)/python -m openeni_chart.schema

manifests: prepare ## Write deploy/openeni.yaml, the chart as Helm renders it
	$(BIN)/python -m openeni_lab.product.manifests

COMPILE := $(BIN)/uv pip compile --generate-hashes --no-emit-index-url --no-header --quiet
SAME := --constraints requirements-dev.lock
PRODUCT := $(SAME) --universal # the images' Python is not this machine's
lock: $(READY) ## Lock the newest allowed versions of every dependency
	$(COMPILE) pyproject.toml --all-extras --group dev --upgrade --output-file requirements-dev.lock
	$(COMPILE) pyproject.toml --all-extras $(SAME) --output-file requirements.lock
	$(COMPILE) --group installer $(SAME) --output-file requirements-uv.lock
	$(COMPILE) pyproject.toml --extra operator $(PRODUCT) --output-file requirements-operator.lock
	$(COMPILE) pyproject.toml --extra nodeagent $(PRODUCT) --output-file requirements-nodeagent.lock

format: $(DEV) ## Format the sources
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

clean: ## Remove everything created in the checkout
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
