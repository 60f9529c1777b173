# Everything a developer does here. Each target sets up what it needs, so a fresh
# clone with Python 3.11+, git and make is enough: `make` lists the targets.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
EVERY ?= 1
PIP = $(BIN)/python -m pip install -qq --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help test conformance crash-matrix faults soak bench bench-quick bench-scaling bench-profiles demo check lint format lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: $(READY) ## Run the tests (ARGS='-n0 -k word' goes to pytest)
	@$(BIN)/pytest $(ARGS)

conformance: $(READY) ## Run every scenario, and print which of them hold
	@$(BIN)/python -m pytest -p tests.conformance.table tests/conformance $(ARGS)

crash-matrix: $(READY) ## Kill the bot at each of its requests and commits (an hour; EVERY=10 is a tenth)
	@CRASH_POINTS=$(EVERY) $(BIN)/pytest -o faulthandler_timeout=0 \
	  tests/adapter/matrix/test_crash_points.py $(ARGS)

faults: $(READY) ## Put every fault at every read and every write (half an hour)
	@FAULTS=all $(BIN)/pytest -o faulthandler_timeout=0 \
	  tests/adapter/matrix/test_fault_matrix_*.py $(ARGS)

soak: $(READY) ## Let people, faults and time do their worst, for minutes; count it
	@SOAK=all $(BIN)/pytest -o faulthandler_timeout=0 \
	  tests/adapter/matrix/test_live_equals_cold.py tests/soak $(ARGS)

bench: $(READY) ## Measure what the bot costs beside the wire; write docs/benchmarks.md
	@$(BIN)/python -m benchmarks $(ARGS)

bench-quick: $(READY) ## Fail if it costs more than it should, in a small world
	@$(BIN)/python -m benchmarks --quick $(ARGS)

bench-scaling: $(READY) ## Measure how that grows with the rooms; write docs/scaling.md
	@$(BIN)/python -m benchmarks.scaling $(ARGS)

bench-profiles: $(READY) ## Record where the time goes, as flame graphs in docs/profiles
	@$(BIN)/python -m benchmarks.profiling $(ARGS)

demo: $(READY) ## Show the whole story once, on an embedded homeserver
	@$(BIN)/spacekeeper demo

check: lint test ## Everything that has to pass: lint and test

lint: $(READY) ## Check style, formatting, types and import contracts
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo

format: $(READY) ## Fix style and formatting in place
	@$(BIN)/ruff check --fix --quiet
	@$(BIN)/ruff format --quiet

lock: $(READY) ## Rewrite requirements.lock (ARGS=--upgrade takes the newest of all)
	@$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	  --no-config --no-emit-index-url \
	  --generate-hashes --custom-compile-command 'make lock' \
	  --quiet --output-file requirements.lock $(ARGS)

clean: ## Remove the environment and everything that was made
	@rm -rf .venv .bench dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A lock that changed means an environment made anew: nothing unlisted is left in it.
.venv/locked: requirements.lock
	@echo "setting up .venv (about a minute, and only when requirements.lock changes)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) --require-hashes -r requirements.lock
	@touch $@

$(READY): .venv/locked pyproject.toml
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
