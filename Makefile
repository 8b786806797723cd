# make help lists what there is. Needs make, Python 3.11 or newer and a package index; nothing else.
# The checkout itself is only read, except for the defaults of VENV and OUT.

VENV ?= .venv
OUT ?= reports
PYTHON ?= python3
PYTEST_ARGS ?= -n 2
LOCK_ARGS ?=
EXTRAS ?=
UV_VERSION := 0.13.9

# Without bytecode every import takes three times as long.
unexport PYTHONDONTWRITEBYTECODE
export HYPOTHESIS_STORAGE_DIRECTORY := $(VENV)/.cache/hypothesis
export MYPY_CACHE_DIR := $(VENV)/.cache/mypy
export RUFF_CACHE_DIR := $(VENV)/.cache/ruff
# abspath would take a blank for the end of a name.
export NUMBA_CACHE_DIR := $(if $(filter /%,$(VENV)),$(VENV),$(CURDIR)/$(VENV))/.cache/numba

.DEFAULT_GOAL := help
.PHONY: help venv report test lint notebooks lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo 'Settings: VENV=$(VENV) (virtual environment)  OUT=$(OUT) (reports)  PYTHON=$(PYTHON)'
	@echo '          PYTEST_ARGS="$(PYTEST_ARGS)"  LOCK_ARGS=--upgrade  EXTRAS=transformers (for venv)'

venv: ## make or refresh the virtual environment
	@sh .ci/venv "$(VENV)" "$(PYTHON)" "$(EXTRAS)"

report: venv ## render the report of the shipped data into OUT
	@"$(VENV)/bin/workbench" report -o "$(OUT)"

test: venv ## run all tests
	@"$(VENV)/bin/python" -m pytest -o "cache_dir=$(VENV)/.cache/pytest" $(PYTEST_ARGS)

lint: venv ## check style, format and types
	@failed=; \
	"$(VENV)/bin/ruff" check || failed=1; \
	"$(VENV)/bin/ruff" format --check || failed=1; \
	"$(VENV)/bin/mypy" || failed=1; \
	test -z "$$failed"

notebooks: venv ## run the committed notebooks and store their outputs
	@"$(VENV)/bin/python" .ci/notebooks.py

lock: ## resolve requirements.lock and requirements-transformers.lock anew
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	"$(PYTHON)" -m venv "$$folder/venv"; \
	"$$folder/venv/bin/python" -m pip install --disable-pip-version-check -q uv==$(UV_VERSION); \
	compile() { \
		"$$folder/venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
			--generate-hashes --no-emit-index-url --no-emit-find-links --annotation-style line \
			--custom-compile-command 'make lock' $(LOCK_ARGS) "$$@"; \
	}; \
	compile --extra test -o requirements.lock pyproject.toml; \
	"$(PYTHON)" -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
		print(*project["optional-dependencies"]["transformers"], sep="\n")' | \
		compile --constraint requirements.lock -o requirements-transformers.lock -; \
	for lock in requirements.lock requirements-transformers.lock; do \
		echo "workbench: $$(grep -c '^[A-Za-z0-9._-]*==' $$lock) packages in $$lock"; \
	done

clean: ## remove the virtual environment and all caches; reports stay
	@if [ -d "$(VENV)/.workbench" ]; then rm -rf "$(VENV)"; fi
	@rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find .ci benchmarks notebooks tests workbench \
		\( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
