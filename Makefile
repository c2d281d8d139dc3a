# Porter. "make help" lists what can be done; everything works from a fresh clone, as root.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
BIN := .venv/bin
PYTEST := $(PYTHON) -m pytest -q

.PHONY: help setup check format test test-long demo bench-cold clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install packages, CRIU, .venv and the test image (quick when done already)
	@porter/lab/setup.sh all

check: ## Formatting, lint, types, import law, unit and contract tests (under 90 s)
	@porter/lab/setup.sh venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) $(wildcard tests/unit tests/contracts)

format: ## Format the code and sort its imports
	$(BIN)/ruff check --fix-only --select I .
	$(BIN)/ruff format .

test: setup check ## Everything: check, then saga, integration and end-to-end tests with real CRIU
	$(PYTEST) $(wildcard tests/saga tests/integration tests/e2e)

test-long: setup ## The soak tests: long series of moves and of random failures
	PORTER_LONG=1 $(PYTEST) $(wildcard tests/saga tests/integration tests/e2e)

demo: setup ## Build a hybrid cloud on this machine and move a busy Redis across it
	@$(PYTHON) -m porter.lab.demo

bench-cold: setup ## Measure a cold move against podman's own checkpoint, copy, restore
	@$(PYTHON) -m benchmarks.cold

clean: ## Take all labs down, remove .venv and caches
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m porter.lab; fi
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
