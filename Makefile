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
DOCS := $(VENV)/.ready-docs
TYPED := build/typed
SOURCES := operator nodeagent crds kube cli lab helm docs tests
FAST := not images and not root and not cluster and not cloud and not lab and not ipvlan and not network and not exhaustive and not long and not simulated and not slow
WORKERS ?= $(shell nproc)
BEGUN := $(shell date +%s)
DISTRO ?= bookworm
BASE ?=
SIZES ?=
DATAPATHS ?=
T ?=
SHARE ?=
REHEARSAL ?=
SOURCE ?=
BUILDER ?=

.PHONY: help images test-again test-exhaustive test-images release prepare prepare-all up down status logs shell demo test fresh load \
	soak soak-node matrix bench bench-datapath bench-operator check lint types contracts generated \
	fast generate manifests site lock format clean python

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | \
		awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

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

shell: $(READY) ## Open a shell in the lab: `kubectl`, `openstack` and `openeni` work there
	@$(LAB) shell

prepare: $(READY) ## Install and build what labs need; shows the plan first
	$(LAB) prepare

prepare-all: $(DEV) ## Install and build what labs, tests and benchmarks need
	$(LAB) prepare --all

test-images: prepare-all ## Build the container images twice and test them (root, buildah, mmdebstrap)
	$(BIN)/python -m pytest -m images tests/images

images: $(READY) ## Build the container images into build/images (root, buildah, mmdebstrap); BASE=... replaces Debian's root
	$(BIN)/python -m openeni_lab.images.command --base=$(BASE)

release: prepare generated ## Write all files of a release into build/release (root, buildah, mmdebstrap); REHEARSAL=1 of what is not released yet
	$(BIN)/python -m openeni_lab.release.command $(if $(REHEARSAL),--rehearsal) \
		--base=$(BASE) --source=$(SOURCE) --builder=$(BUILDER)

# -- tests and gates -----------------------------------------------------------------------------

test: python ## Run the test suite on a real lab (root); T=tests/operator runs a part
	@PYTHONPATH=tests $(PYTHON) -m openeni_testing.selection $(T)
	@$(MAKE) --no-print-directory prepare-all
	PYTHONPATH=tests $(BIN)/python -m openeni_testing.suite $(T)

test-again: prepare-all ## Run the tests that failed in the last run, if they are few, with nothing beside (root)
	PYTHONPATH=tests $(BIN)/python -m openeni_testing.again

test-exhaustive: prepare-all ## Run the tests that go through every state, fault or instant, or a lab's whole life (root); SHARE=2/3 runs the second third
	PYTHONPATH=tests $(BIN)/python -m openeni_testing.suite --apart $(addprefix --share=,$(SHARE))

check: $(DEV) ## Check format, lint, types and contracts, and run the fast tests
	@$(MAKE) --no-print-directory --jobs=3 --output-sync=line fast types lint contracts generated

fresh: python ## Run demo, check and a lab test on a bare Debian (root); DISTRO=bookworm or trixie
	PYTHONPATH=tests:lab $(PYTHON) -m openeni_testing.fresh.root --distro $(DISTRO)

load: prepare-all ## Run the whole suite three times under CPU load (hours, root)
	PYTHONPATH=tests $(BIN)/python -m openeni_testing.load

soak: prepare-all soak-node ## Disturb node, operator and a real OpenStack at random (root; hours); OPENENI_SEED=... replays one run
	OPENENI_KILLS=300 OPENENI_SOAK=1 $(BIN)/python -m pytest tests/operator/killed tests/lab/test_inside.py \
		tests/system/test_alerts.py

soak-node: prepare-all ## Play 1,000 random sequences on a node in each mode, and 10,000 pod lives with kill -9 (root)
	OPENENI_SEQUENCES=1000 OPENENI_LIVES=10000 OPENENI_PREEMPTIONS=2 $(BIN)/python -m pytest \
		tests/nodeagent/soak tests/nodeagent/attachments/test_interleavings.py
	OPENENI_SEQUENCES=1000 $(LAB) kernel -- $(BIN)/python -m pytest -p no:cacheprovider -m ipvlan tests/nodeagent/soak

matrix: prepare-all ## Send the packets of every mode, path, family, proxy and kind of traffic; writes docs/support.md (root)
	PYTHONPATH=tests $(BIN)/python -m openeni_testing.matrix.command

bench: prepare-all ## Compare CNI ADD and DEL with reference plugins, heal damages (root, 14 minutes); DATAPATHS=veth runs one
	PYTHONPATH=tests $(BIN)/python -m openeni_testing.node_bench.pods.command $(DATAPATHS)

bench-datapath: $(DEV) ## Compare the speed of packets with reference plugins and a host (root, 20 minutes)
	$(LAB) prepare --all --emulator
	PYTHONPATH=tests $(BIN)/python -m openeni_testing.node_bench.datapath.command

bench-operator: prepare-all ## Measure the operator in clusters of 100, 300 and 1,000 nodes (root); SIZES=100 runs one
	PYTHONPATH=tests $(BIN)/python -m openeni_testing.operator_bench.command $(SIZES)

lint: $(DEV)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

types: $(DEV)
	@# pyright keeps nothing from one run to the next, and takes as long as all fast tests
	@read="$$(find pyproject.toml requirements-dev.lock $(SOURCES) -type f \
		-regex '.*\.\(pyi?\|toml\|lock\)' | LC_ALL=C sort | xargs sha256sum | sha256sum)"; \
	if [ "$$read" = "$$(cat $(TYPED) 2>/dev/null)" ]; then \
		echo "types: nothing has changed since they were right"; exit; \
	fi; \
	set -e; $(BIN)/mypy; $(BIN)/pyright; mkdir -p $(dir $(TYPED)); echo "$$read" > $(TYPED)

contracts: $(DEV)
	$(BIN)/lint-imports

generated: $(DEV)
	$(BIN)/python -m openeni_lab.release.version --check
	$(BIN)/python -m openeni_crds.schema --check
	PYTHONPATH=helm $(BIN)/python -m openeni_chart.schema --check
	PYTHONPATH=docs $(BIN)/python -m openeni_docs --check

fast: $(DEV)
	@command -v cc > /dev/null && command -v musl-gcc > /dev/null || \
		{ echo "the CNI executable and the tests need compilers: apt-get install gcc libc6-dev musl-tools"; exit 1; }
	@# pytest rewrites every test module; without its bytecode each worker does it again
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q -n $(WORKERS) --hypothesis-profile=check -m "$(FAST)" --junit-xml=build/test/fast.xml tests

# -- the Python environment, generated files -----------------------------------------------------

python:
	@command -v $(PYTHON) > /dev/null || \
		{ echo "$(PYTHON) is missing: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "openeni needs Python 3.11 or newer, $(PYTHON) is older: set PYTHON=..." >&2; exit 1; }

$(VENV)/bin/uv: requirements-uv.lock | python
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) has no ensurepip: apt-get install python3-venv" >&2; exit 1; }
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

$(DOCS): $(READY) requirements-docs.lock
	$(UV) --require-hashes --requirement requirements-docs.lock
	@touch $@

site: $(DOCS) ## Build the documentation as a site into build/site; a broken link or anchor fails
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=docs $(BIN)/python -m mkdocs build

generate: $(DEV) ## Write the generated files (versions, CRDs, the chart's schema, pages of docs)
	$(BIN)/python -m openeni_lab.release.version
	$(BIN)/python -m openeni_crds.schema
	PYTHONPATH=helm $(BIN)/python -m openeni_chart.schema
	PYTHONPATH=docs $(BIN)/python -m openeni_docs

manifests: prepare ## Write deploy/openeni.yaml, the chart as Helm renders it
	$(BIN)/python -m openeni_lab.product.manifests

COMPILE := $(BIN)/uv pip compile --generate-hashes --no-emit-index-url --no-header --quiet
SAME := --constraints requirements-dev.lock
PRODUCT := $(SAME) --universal # the images' Python is not this machine's
lock: $(READY) ## Lock the newest allowed versions of every dependency
	$(COMPILE) pyproject.toml --all-extras --group dev --upgrade --output-file requirements-dev.lock
	$(COMPILE) pyproject.toml --all-extras $(SAME) --output-file requirements.lock
	$(COMPILE) --group installer $(SAME) --output-file requirements-uv.lock
	$(COMPILE) --group docs $(SAME) --output-file requirements-docs.lock
	$(COMPILE) pyproject.toml --extra operator $(PRODUCT) --output-file requirements-operator.lock
	$(COMPILE) pyproject.toml --extra nodeagent $(PRODUCT) --output-file requirements-nodeagent.lock

format: $(DEV) ## Format the sources
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

clean: ## Remove everything created in the checkout
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
