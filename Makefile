# What can be done in a checkout. Each step that needs the environment installs it first.
#   make PYTHON=/path/to/python3.12 install     chooses the interpreter (3.11 or newer)
#   make test ARGS='-k balloon'                 hands ARGS to the program behind the target

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check
JOBS ?= auto
ARGS ?=

.PHONY: help install demo test check format rollouts validate bench clean

help:  ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed  ## environment in .venv, everything pinned; kernels compiled
	@$(RUN) -m memsim.warm

$(VENV)/.installed: pyproject.toml constraints.txt
	@command -v "$(PYTHON)" > /dev/null || \
		{ echo "There is no $(PYTHON); say make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $(PYTHON) is $$("$(PYTHON)" -V 2>&1);" \
			"say make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null || \
		{ echo "$(PYTHON) lacks venv; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@[ -x $(RUN) ] || { echo "Making $(VENV) with $$("$(PYTHON)" -V)"; "$(PYTHON)" -m venv --clear $(VENV); }
	@echo "Installing the pinned packages into $(VENV) (one to several minutes the first time)"
	@$(PIP) install -qq --constraint constraints.txt hatchling
	@$(PIP) install -qq --constraint constraints.txt --no-build-isolation --editable '.[all]'
	@touch $@

demo: install  ## train a small agent, compare it with the baselines, write runs/demo/report.html
	@$(RUN) train.py configs/train/demo.yaml --name demo-agent
	@$(RUN) evaluate.py configs/evaluate/demo.yaml --name demo \
		--policies static,equal,slides,runs/demo-agent $(ARGS)

test: install  ## all tests, on every core
	@$(RUN) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

check: install  ## format, lint, types, import floors, spelling
	@$(RUN) -m ruff format --check .
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/codespell $$(git ls-files)

format: install  ## put the code into its format
	@$(RUN) -m ruff check --fix-only .
	@$(RUN) -m ruff format .

rollouts: install  ## write the golden rollouts anew; review the difference
	@$(RUN) -m pytest -m golden --write-golden $(ARGS)
	@git diff --stat -- '*/golden/*'

validate: install  ## published experiments; writes docs/validation.md (half an hour)
	@$(RUN) -m validation $(ARGS)

bench: install  ## the table of docs/performance.md
	@$(RUN) -m benchmarks $(ARGS)

clean:  ## remove caches and compiled kernels; leaves .venv and runs
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/memsim"
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
