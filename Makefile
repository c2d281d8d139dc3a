# Porter. "make help" lists what can be done; everything works from a fresh clone, as root.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
BIN := .venv/bin
PYTEST := $(PYTHON) -m pytest -q
# Tests that mostly wait, or need no lab: three files of them at a time.
ASIDE := tests/saga tests/integration/clouds $(wildcard tests/integration/test_*postgresql*.py) \
	$(wildcard tests/integration/test_store*.py) $(addprefix tests/integration/test_,$(addsuffix .py, \
	action client events login openapi permissions request_id schedules_processes streams webhooks))

.PHONY: help base setup check format test test-long demo demo-clouds screenshots bench-cold \
	bench-events bench-economics bench-rebalance clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

base: ## Install packages, CRIU, .venv, front-end files and the test image (quick when done already)
	@porter/lab/setup.sh all
	@porter/web/assets.sh

setup: base ## The same, and what the lab's clouds and the tests' issuer are made of
	@porter/lab/clouds/setup.sh
	@tests/integration/oidc/setup.sh

check: ## Formatting, lint, types, import law, unit and contract tests (under 90 s)
	@porter/lab/setup.sh venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -n 4 $(wildcard tests/unit tests/contracts)

format: ## Format the code and sort its imports
	$(BIN)/ruff check --fix-only --select I .
	$(BIN)/ruff format .

test: setup check ## Everything: check, then saga, integration, end-to-end and browser tests with real CRIU
	$(PYTEST) -n 3 --dist loadfile $(ASIDE)
	$(PYTEST) $(addprefix --ignore=,$(ASIDE)) tests/integration tests/e2e tests/browser

test-long: setup ## The soak tests: long series of moves and of random failures
	PORTER_LONG=1 $(PYTEST) $(wildcard tests/saga tests/integration tests/e2e tests/browser)

demo: base ## Build a hybrid cloud on this machine and move a busy Redis across it
	@$(PYTHON) -m porter.lab.demo

demo-clouds: setup ## Move a busy Redis around four clouds, on machines made for it
	@$(PYTHON) -m porter.lab.demo_clouds

screenshots: base ## Take the documentation's pictures of a real lab
	@$(PYTHON) -m tests.browser.screenshots

bench-cold: base ## Measure a cold move against podman's own checkpoint, copy, restore
	@$(PYTHON) -m benchmarks.cold

bench-events: base ## Measure 500 streams of events and 50 requests a second, and a replica's death
	@$(PYTHON) -m benchmarks.events

bench-economics: base ## Replay made-up weeks of prices: what moving by itself saves (ten minutes and more)
	@$(PYTHON) -m benchmarks.economics

bench-rebalance: base ## Measure the optimiser: time, and the gap to what is proven
	@$(PYTHON) -m benchmarks.rebalance

clean: ## Take all labs down, remove .venv and caches
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m porter.lab; fi
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info
	rm -rf porter/web/pages/static/vendor tests/browser/artefacts porter/schedule/optimiser/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
