# Two commands do all the set-up: make demo, make test. Everything lies in .venv and var.
PYTHON ?= python3
PORT ?= 8000
SERVE ?= 1
BIN := .venv/bin
ENV := WORKBENCH_ENV_FILE=var/env

.PHONY: help install install-test demo test test-fast test-full test-js faults load journeys pictures snapshot loop-real client-models lint lint-python format hooks lock clean

help:  ## what there is
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

install: .venv/.installed  ## .venv with what the workbench needs
install-test: .venv/.installed-test  ## and what its tests need

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed; name one: make demo PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv

# The locks are complete, so pip has nothing to resolve; but torch brings its own choice of CUDA libraries,
# which a lock for every platform cannot name.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
.venv/.installed: requirements/base.lock requirements/demo.lock requirements/torch.lock | .venv/bin/python
	@echo "Installing into .venv (a minute or so)" >&2
	@$(PIP) --no-deps -r requirements/base.lock -r requirements/demo.lock
	@$(PIP) -r requirements/torch.lock
	@touch $@

# Node comes out of the lock as well; the linter of JavaScript and CSS is the one package from npm.
# Tests read files of a release with other trainers' own readers of data, which have wheels for few Pythons.
.venv/.installed-test: .venv/.installed requirements/dev.lock requirements/package-lock.json requirements/readers.lock
	@$(PIP) --no-deps -r requirements/dev.lock
	@for reader in $$(cat requirements/readers.lock); do \
	    $(PIP) --no-deps --upgrade --target .venv/readers $$reader || \
	    { [ -z "$$CI" ] && echo "$$reader has no wheel for this Python; tests leave out its reader" >&2; } || exit 1; done
	@cp requirements/package.json requirements/package-lock.json .venv
	@cd .venv && bin/npm ci --silent --ignore-scripts --no-audit --no-fund
	@touch $@

var/env:
	@mkdir -p -m 700 var
	@umask 077; echo "SECRET_KEY=$$($(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(50))')" > $@

demo: .venv/.installed var/env  ## the demo on http://127.0.0.1:8000 (PORT=..., SERVE=0 to prepare only)
	@exec env $(ENV) $(BIN)/python manage.py demo --port $(PORT) $(if $(filter 0,$(SERVE)),--no-serve)

test: .venv/.installed-test  ## all tests but the long ones, on every database, broker and browser that is found
	@exec $(BIN)/python -m tests

test-fast: .venv/.installed-test  ## for daily work: linters of Python, and quick tests on SQLite
	@exec $(BIN)/python -m tests --fast

test-full: .venv/.installed-test  ## the long tests alone: fuzzing, load, faults, simulations, memory
	@exec $(BIN)/python -m tests --long

faults: .venv/.installed-test  ## the fault tests at full size: 10,000 completions, 20 killed workers
	FAULT_COMPLETIONS=10000 FAULT_KILLS=20 $(BIN)/python -m pytest -q tests/faults -m "services and not postgresql"
	TEST_DATABASE=postgresql FAULT_COMPLETIONS=10000 FAULT_KILLS=20 $(BIN)/python -m pytest -q tests/faults

load: .venv/.installed-test  ## 50 annotators at once: nothing lost, doubled or given to the wrong person (ARGS=...)
	PYTHONPATH=. $(BIN)/python benchmarks/load_annotate.py $(ARGS)

bench-%: .venv/.installed-test  ## bench-scoring, bench-workers, bench-import, ...: what is fast, with ratios (ARGS=...)
	PYTHONPATH=.:client/src $(BIN)/python benchmarks/bench_$(subst -,_,$*).py $(ARGS)

journeys: .venv/.installed-test  ## acts and seconds of a newcomer's journeys through the demo, in Chromium (ARGS=...)
	PYTHONPATH=. $(BIN)/python benchmarks/journeys.py $(ARGS)

pictures: .venv/.installed-test  ## take the pictures of the help anew, with Chromium
	PICTURES=docs/pictures $(BIN)/python -m pytest -q -m browser tests/browser/test_help.py -k pictures

snapshot: .venv/.installed-test  ## all that Releases and Quality say of three sets, to compare commits (OUT=folder)
	$(BIN)/python tests/snapshot.py $(OUT)

loop-real: .venv/.installed-test  ## the loop on real data: does more labelling make a better model? (ARGS=...)
	PYTHONPATH=. $(BIN)/python benchmarks/loop_real.py $(ARGS)

client-models: .venv/.installed-test  ## write the client's models anew from the document of the API
	DEBUG=1 $(BIN)/python client/generate_models.py

BIOME := $(BIN)/node .venv/node_modules/@biomejs/biome/bin/biome
TEMPLATES = $(shell git ls-files 'templates/*.html')
DJADE := $(BIN)/djade --target-version 5.2

lint: lint-python  ## linters and formatters of Python, JavaScript, CSS and templates; mypy; the layers
	$(BIOME) check
	$(BIN)/djlint --lint --quiet templates
	@$(DJADE) --check $(TEMPLATES)

lint-python: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	DEBUG=1 $(BIN)/mypy

format: .venv/.installed-test  ## write all code in the one form that `make lint` asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIOME) check --write
	@$(DJADE) $(TEMPLATES) || $(DJADE) --check $(TEMPLATES)  # it ends with 1 where it wrote

test-js: .venv/.installed-test  ## the JavaScript modules in Node, without a browser
	@$(BIN)/node --disable-warning=MODULE_TYPELESS_PACKAGE_JSON --test 'tests/js/*.test.js'

hooks: .venv/.installed-test  ## check each commit with the linters and formatters
	$(BIN)/pre-commit install

lock:  ## write the locks anew from pyproject.toml (needs uv)
	uv pip compile -q --no-header --no-annotate --upgrade --python-version 3.11 \
	    -c requirements/torch.lock --no-emit-package torch pyproject.toml -o requirements/base.lock
	uv pip compile -q --no-header --no-annotate --python-version 3.11 --extra test --extra bench \
	    -c requirements/base.lock -c requirements/torch.lock --no-emit-package torch \
	    pyproject.toml -o requirements/dev.lock
	sed -i -E '/^(nvidia-|cuda-|triton==)/d' requirements/base.lock requirements/dev.lock
	cd requirements && ../$(BIN)/npm install --package-lock-only --ignore-scripts --no-audit --no-fund \
	    --omit-lockfile-registry-resolved

clean:  ## remove what make made: .venv and var
	rm -rf .venv var
