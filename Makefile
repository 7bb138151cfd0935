# The two commands are `make dev` and `make test`; the rest is for people who work on the platform itself.
SHELL := /bin/sh
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 3  # more than two cores hold, because many tests wait for processes and clocks

.PHONY: dev test test-engines test-long bench lint format lock dist clean

dev: $(VENV)/.ready  ## Install into .venv and start everything with the demo apps.
	@$(BIN)/baas dev --demo

test: $(VENV)/.ready  ## Install into .venv and pass the tests, lint and types included.
	@$(BIN)/pytest -n $(JOBS) --dist worksteal $(ARGS)

test-engines: $(VENV)/.ready  ## Every test on every PostgreSQL here, also those that `make test` runs on one.
	@BAAS_TEST_ENGINES=embedded,system $(BIN)/pytest -n $(JOBS) --dist worksteal $(ARGS)

test-long: $(VENV)/.ready  ## The fault and load tests that take minutes.
	@$(BIN)/pytest -m long $(ARGS)

bench: $(VENV)/.ready  ## Requests per second beside pgbench on the same database.
	@$(BIN)/python -m tests.bench

lint: $(VENV)/.ready
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(VENV)/.ready
	@$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format .

dist: $(VENV)/.ready  ## Both wheels and source archives into dist/.
	@rm -rf dist && $(BIN)/python -m build --outdir dist sdk && $(BIN)/python -m build --outdir dist .
	@$(BIN)/twine check --strict dist/* && $(BIN)/check-wheel-contents dist/*.whl

lock:  ## Resolve the dependencies anew: names, versions and hashes, for every platform. Needs uv.
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet \
		--no-emit-package baas-sdk -o requirements.txt pyproject.toml
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet \
		--no-emit-package baas-sdk --group dev -c requirements.txt -o requirements-dev.txt pyproject.toml

clean:
	@rm -rf $(VENV) dist build

$(VENV)/.ready: requirements-dev.txt pyproject.toml sdk/pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "baas needs Python 3.11 or newer, and none was found. Install it, or run: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "$(PYTHON) is no Python 3.11 or newer." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) comes without venv. On Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON) (once, about a minute)..." >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt \
		|| { echo "The packages could not be installed: is a package index reachable from here?" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e ./sdk -e .
	@touch $@
