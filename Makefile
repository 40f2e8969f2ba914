# make demo   installs into .venv, makes a demo film, dubs it, says where film and report lie
# make test   installs the tests' tools too, then lint, types, import rules and tests
# PYTHON=...  which Python 3.11 or 3.12 to build .venv from

SHELL := /bin/sh
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO_OUT ?= demo-out
SOURCES := flows tasks wav2lip_core training infra tests benchmarks docs

.PHONY: demo test lint espeak chromium postgresql clean distclean
.DELETE_ON_ERROR:

demo: .venv/installed-demo espeak
	$(BIN)/dub demo --out $(DEMO_OUT)

# Tests of servers and workers wait much of their time: a third process has room on two cores. The many processes that they start find our modules compiled, also where the environment forbids to keep that.
test: lint espeak chromium postgresql .venv-swift/installed .venv-retinaface/installed
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 3

lint: .venv/installed-test
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/pyright
	$(BIN)/lint-imports

# Each stamp is newer than what it was made from; a second call finds it and is quick.
.venv/made: infra/make_venv.sh
	PYTHON="$(PYTHON)" infra/make_venv.sh
	@touch $@

.venv/installed-demo: .venv/made pyproject.toml constraints.txt
	@echo "Installing dubflow into .venv (some minutes at first) ..."
	$(PIP) --editable '.[demo]'
	@touch $@

# pyright is a Node program; its "nodejs" extra brings Node along in a wheel.
.venv/installed-test: .venv/installed-demo
	@echo "Installing the tests' tools into .venv ..."
	$(PIP) --editable '.[demo,test,dask,ray]' 'pyright[nodejs]'
	@touch $@

# A real S3 server for the tests, in an environment of its own.
.venv-swift/installed: tests/make_swift_venv.sh .venv/made
	PYTHON="$(CURDIR)/$(BIN)/python" tests/make_swift_venv.sh
	@touch $@

# The published RetinaFace package, to compare ours with.
.venv-retinaface/installed: tests/make_retinaface_venv.sh .venv/installed-test
	tests/make_retinaface_venv.sh
	@touch $@

espeak:
	@infra/install_espeak.sh

# The browser that the report is tested in.
chromium:
	@tests/install_chromium.sh

# The database of a team's Prefect server.
postgresql:
	@tests/install_postgresql.sh

clean:
	rm -rf $(DEMO_OUT) build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .venv-swift .venv-retinaface
