# make train   set up what is missing, then run the quickstart       ARGS="stages.1.steps=5" passes overrides
# make test    set up what is missing, then run the default tests    ARGS="-k name -x" passes pytest options
# make setup   only the set-up, into .venv/
# make check   lint, format check, strict types
# make docs    the documentation, built strictly, into site/
# make test-all  the default tests and the slow ones

SHELL := /bin/bash
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --no-compile --no-deps
TORCH := $(shell grep '^torch==' requirements/cpu.txt)
TORCH_INDEX := https://download.pytorch.org/whl/cpu
# Two processes, a test file whole in one of them: runs wait for processes as much as they compute. In the order of
# folders, so that the long files are not the last ones.
SPREAD := -n 2 --dist loadfile --no-loadscope-reorder
# What is compiled at its first import is kept, whatever the environment says of other projects.
unexport PYTHONDONTWRITEBYTECODE
NEWER := import sys; sys.exit(sys.version_info < (3, 11))

.PHONY: setup train test test-all check docs
.DEFAULT_GOAL := setup

setup: .venv/.ready

train: .venv/.ready
	$(BIN)/rlkit train recipes/quickstart.yaml run.name=quickstart-$$(date +%Y%m%d-%H%M%S) $(ARGS)

test: .venv/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SPREAD) -m "not slow and not gpu" $(ARGS)

test-all: .venv/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SPREAD) -m "not gpu" $(ARGS)

check: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The variable silences the theme's notice about its successor.
docs: .venv/.ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs --quiet build --strict

# The stamp is written last: a set-up that was interrupted goes on where it stopped. Python compiles each module when it
# is first imported: compiling all 175 packages here took as long as installing them. The longest imports are done here,
# so that they are kept where the environment forbids Python to write (as many container images do: 18 s instead of 9 at
# every start of an engine); whether they succeed is told where they are used. Only torch, whose CPU build PyPI does not
# have, may come from PyTorch's own index, and only where pip's configured ones lack it.
.venv/.ready: requirements/cpu.txt pyproject.toml
	@python=""; for p in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	  if [ -z "$$python" ] && command -v $$p >/dev/null && $$p -c '$(NEWER)' 2>/dev/null; then python=$$p; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "rlkit needs Python 3.11 or newer; python3 is $$(python3 --version 2>&1). Install one, or: make PYTHON=/path/to/python3.11" >&2; exit 2; \
	fi; \
	if [ -x $(BIN)/python ] && $(BIN)/python -c '$(NEWER)' && $(BIN)/python -m pip --version >/dev/null 2>&1; then :; else \
	  $$python -m venv --clear .venv || { echo "python -m venv failed (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 2; }; \
	fi
	@echo "Installing $$(grep -c == requirements/cpu.txt) packages into .venv (about two minutes, 4 GB on disk)"
	@$(PIP) "$(TORCH)" 2>/dev/null || $(PIP) --extra-index-url $(TORCH_INDEX) "$(TORCH)"
	@$(PIP) -r requirements/cpu.txt
	@$(PIP) --no-build-isolation -e .
	@OMP_NUM_THREADS=1 $(BIN)/python -c "import ray, vllm; vllm.LLM" >/dev/null 2>&1 || true
	@touch $@
