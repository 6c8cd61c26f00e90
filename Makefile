# Every target sets up what it needs. VENV may point elsewhere.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: setup demo test test-slow test-all chaos lint wheel-check tensorboard clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed, set PYTHON=..."'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# The main job on the embedded default: makes the tiny base, then trains it by FG-ExPO.
demo: setup
	$(BIN)/python -m fgexpo fit --config configs/tiny.yaml
	@echo "See it: $(BIN)/tensorboard --logdir runs"

test: setup
	$(BIN)/python -m pytest

test-slow: setup
	$(BIN)/python -m pytest -m slow

# Breaks runs in every way we can think of, and counts what is lost; about ten minutes.
chaos: setup
	$(BIN)/python tests/chaos.py

# Everything: fast tests first, the wheel included.
test-all: test lint wheel-check test-slow chaos

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# The wheel works without the tree: built here, installed and imported elsewhere.
wheel-check: setup
	PYTHON=$(abspath $(BIN))/python sh tests/check_wheel.sh

tensorboard: setup
	$(BIN)/tensorboard --logdir runs

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
