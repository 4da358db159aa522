# Two commands for people: `make demo` and `make test`. Both set up .venv from nothing.
# While you work: `make quick` (no kernel, no QEMU), `make test ROOM=firmware` (the tests of one room,
# all of them), `make check` (what CI asks for besides the tests).

VENV   := .venv
BIN    := $(VENV)/bin
PYTHON ?= $(firstword $(shell for p in python3 python3.13 python3.12 python3.11; do \
            $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p; done))
JOBS   ?= 2
KERNEL ?= deb:linux-image-cloud-amd64
PYTEST_ARGS ?=
ROOM   ?=

.PHONY: demo test quick check fuzz docs site pictures environment compiled clean

demo: $(BIN)/python
	@rm -f $(VENV)/installed
	$(BIN)/pip install --quiet .
	$(BIN)/efishim run
	$(BIN)/efishim run $(KERNEL)

test: compiled
	$(BIN)/python -m pytest -n $(JOBS) --dist loadscope $(PYTEST_ARGS) $(if $(ROOM),tests/$(ROOM))

quick: compiled
	$(BIN)/python -m pytest -n $(JOBS) --dist loadscope -m "not kernel and not qemu and not slow" $(PYTEST_ARGS) $(if $(ROOM),tests/$(ROOM))

check: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Mutated inputs through every parser: `make fuzz TARGET=deb FUZZ="--examples 1000000 --seed 7"`. With coverage guidance:
# `make fuzz TARGET=image FUZZ=--guided`, where atheris is there for this Python.
TARGET ?=
FUZZ   ?=
fuzz: environment
	@case "$(FUZZ)" in *--guided*) $(BIN)/pip install --quiet '.[fuzz]' || echo 'atheris is not there for this Python';; esac
	$(BIN)/python -m tests.fuzz $(TARGET) $(FUZZ)

docs: environment
	$(BIN)/python -m docs.generate

site: environment
	$(BIN)/python -m sphinx -b html -q -W --keep-going docs build/site
	$(BIN)/python -m sphinx -b man -q -W --keep-going docs build/man
	@echo "build/site/index.html, build/man/efishim.1"

pictures: environment
	$(BIN)/python -m docs.pictures $(KERNEL)

environment: $(VENV)/installed

$(VENV)/installed: pyproject.toml $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

# The tests start hundreds of processes. Where Python may not keep what it compiles (PYTHONDONTWRITEBYTECODE), each would
# compile efishim again.
compiled: environment
	@$(BIN)/python -m compileall -q efishim plugins firmware_stubs

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo 'efishim needs Python 3.11 or newer: apt-get install python3 python3-venv' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo 'making a virtual environment failed; on Debian: apt-get install python3-venv' >&2; exit 1; }

clean:
	rm -rf $(VENV) build dist .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
