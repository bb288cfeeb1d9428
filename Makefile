# Every target sets up what it needs; `make help` lists them.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= 2

.PHONY: help setup demo chain-demo test test-quick lint docs bench clean

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(READY) ## virtual environment with every pinned dependency

$(READY): pyproject.toml .ci/check-tools
	@.ci/check-tools "$(PYTHON)"
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,fpga]'
	@touch $@

demo: $(READY) ## ONNX to program to the 256x256 machine in RTL, compared byte for byte
	@$(BIN)/python -m examples.digits.demo

chain-demo: $(READY) ## a market of suppliers, cheats and a buyer on this computer
	@$(BIN)/python -m hpu.chain_integration.demo

test: lint $(READY) ## everything: generated pages, lint, types, all tests
	$(BIN)/pytest -n $(JOBS) --dist worksteal

test-quick: $(READY) ## tests without full-size builds and long simulations
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m "not slow"

lint: $(READY) ## generated pages up to date, ruff, mypy
	$(BIN)/python -m hpu.hw.documents --check
	$(BIN)/python -m hpu.compiler.support --check
	$(BIN)/python -m hpu.chain_integration.chain.documents --check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY) ## write the generated pages again
	$(BIN)/python -m hpu.hw.documents
	$(BIN)/python -m hpu.compiler.support
	$(BIN)/python -m hpu.chain_integration.chain.documents

bench: $(READY) ## measure every figure, or one with ONLY=id; writes build/bench.json
	@$(BIN)/python -m hpu.runtime.bench $(if $(ONLY),--only $(ONLY))

clean: ## delete builds and caches, but not the virtual environment
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
