# `make run` and `make test` need Python 3.11, Java 17 to 24 and, without a nextflow on PATH, Maven.
SHELL := /bin/bash
PYTHON := .venv/bin/python
.DEFAULT_GOAL := help

.PHONY: help run test test-semicrf test-all benchmark lint format lock docs clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Set up what is missing and run the default benchmark; make run ARGS="--models core,my_model"
	@bin/run $(ARGS)

test: lint test-semicrf ## What CI runs; make test ARGS="tests/setup -x"
	$(PYTHON) -m pytest -n 2 --dist loadfile $(ARGS)

test-semicrf: .venv-semicrf/current ## The tests of the library packages/semicrf alone
	cd packages/semicrf && ../../.venv-semicrf/bin/python -m pytest -q $(ALL)

test-all: ALL := --all
test-all: lint test-semicrf ## Every model folder in Docker, and a one-node Slurm, too
	$(PYTHON) -m pytest -n 2 --dist loadfile --all $(ARGS)

benchmark: ## The default benchmark with every model there is
	@bin/run --models all --cells 1000 --genes 2000 --peaks 10000 --scenario_seeds 1,2,3 $(ARGS)

lint: .venv/current ## Style of the Python code, and locks that fit what is asked for
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	bin/lock --check

format: .venv/current ## Put the Python code into that style
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

lock: ## Write the locks that are not current
	bin/lock

docs: .venv/current ## Write the generated pages, docs/contract.md and docs/models.md
	$(PYTHON) -m lacuna_contract.docs > .page && mv .page docs/contract.md
	env -u LACUNA_MODELS_DIR $(PYTHON) -m lacuna.authoring.docs > .page && mv .page docs/models.md

clean: ## Remove work/ and caches, outdated environments and images; data/ and results/ stay
	rm -rf work build dist .nextflow .nextflow.log* .pytest_cache .ruff_cache .hypothesis
	bin/build-envs --prune
	bin/build-images --prune || true

.venv/current: requirements-dev.lock pyproject.toml
	bin/build-envs --dev lacuna
	@touch $@

.venv-semicrf/current: packages/semicrf/requirements-dev.lock packages/semicrf/pyproject.toml \
		$(wildcard packages/semicrf/src/semicrf/csrc/*)
	bin/build-envs --dev semicrf
	@touch $@
