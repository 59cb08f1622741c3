# Two commands are all that is needed: `make demo` and `make test`. Each sets up what it needs, in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
# the machine's own pip installs into $(VENV): nothing beside Python, pip and make is needed
PIP     = $(PYTHON) -m pip --python $(BIN)/python
DATA   ?= ../shared/data/tau2/airline
OUT    ?= report.json
MINUTES ?= 5
SEED   ?=
KB     ?= ../shared/data/abcd/kb.json
TO     ?= abcd-control

.DEFAULT_GOAL := help
.PHONY: help demo test chaos check format bench bench-journeys bench-seal bench-airline bench-retail import-abcd docs lock clean

help: ## this list
	@echo "cxplane: the open control plane for customer service"
	@echo
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.lock pyproject.toml
	@echo "==> setting up $(VENV) from requirements.lock (once; a minute or two)"
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "cxplane needs Python 3.11 or newer; say which with PYTHON=python3.11")'
	@$(PYTHON) -m venv --without-pip $(VENV)
	@$(PIP) install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(PIP) install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: $(STAMP) ## the main job, live: store, four systems, plane, agents asking (ONCE=1 ends by itself)
	@echo "==> starting the demo"
	@$(BIN)/python examples/broadband/demo.py $(if $(ONCE),--once,)

test: $(STAMP) ## all tests, on a real Postgres that starts from a wheel
	@echo "==> running the tests"
	@$(BIN)/python -m pytest -n 3 --dist worksteal

chaos: $(STAMP) ## planes, workers and Postgres killed and paused under load, then all is counted: MINUTES=5 [SEED=n]
	@echo "==> a storm of $(MINUTES) minutes"
	@CXPLANE_CHAOS_MINUTES=$(MINUTES) CXPLANE_CHAOS_SEED=$(SEED) $(BIN)/python -m pytest -s tests/crash/test_chaos.py

check: $(STAMP) ## formatting, types, import contracts, docs
	@echo "==> ruff";         $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "==> mypy";         $(BIN)/mypy
	@echo "==> import rules"; $(BIN)/lint-imports
	@echo "==> docs";         $(BIN)/python scripts/docs.py --check

format: $(STAMP) ## put the code into shape
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

docs: $(STAMP) ## write the reference pages anew from the code
	@$(BIN)/python scripts/docs.py

bench: $(STAMP) ## the figures of docs/benchmarks.md
	@echo "==> running the benchmarks"
	@$(BIN)/python benchmarks/gate/run.py --out $(OUT)

bench-journeys: $(STAMP) ## journeys beside DBOS and Restate: legs, signals, parked runs, a killed worker; OUT=report.json
	@$(BIN)/python -m benchmarks.journeys.run --out $(OUT)

import-abcd: $(STAMP) ## the work flows of a public set as journeys: KB=kb.json TO=DIR
	@$(BIN)/python -m benchmarks.abcd.import_kb --kb $(KB) --out $(TO)

bench-seal: $(STAMP) ## how fast an export is verified, and what sealing costs: OUT=report.json
	@$(BIN)/python -m benchmarks.seal.run --out $(OUT)

bench-airline: $(STAMP) ## recorded AI agents against a written airline policy: DATA=DIR OUT=report.json
	@$(BIN)/python benchmarks/airline/run.py --data $(DATA) --out $(OUT)

bench-retail: $(STAMP) ## the same with the retail domain: DATA=DIR OUT=report.json
	@$(BIN)/python benchmarks/retail/run.py --data $(DATA) --out $(OUT)

lock: ## choose versions anew (needs pip-tools)
	pip-compile -q --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-annotate --strip-extras --no-header --extra dev --allow-unsafe -o requirements.lock pyproject.toml
	pip-compile -q --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-annotate --strip-extras --no-header --extra analytics --constraint requirements.lock -o requirements-run.lock pyproject.toml

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .demo
