# The two commands a newcomer needs are `make run` and `make test`; each sets up what is missing.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
SOURCES := setup.py pyproject.toml $(wildcard engine/_native/*.pyx engine/_native/*.pxd engine/_native/*_build.py engine/_native/c/*.[ch])

SERVICES := ci/bus_setup.sh ci/store_setup.sh ci/contract_setup.sh ci/sip_setup.sh

.PHONY: help setup build run test quick bench lint sanitize wheel clean

help: ## what each target does
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: pyproject.toml ci/setup.sh
	ci/setup.sh $(VENV)
	@touch $@

$(VENV)/.built: $(VENV)/.installed $(SOURCES)
	$(PYTHON) setup.py -q build_ext --inplace --parallel 2
	@touch $@

$(VENV)/.services: $(SERVICES) # the servers that tests start for themselves
	@for script in $(SERVICES); do $$script || exit 1; done
	@touch $@

setup: $(VENV)/.installed ## install system packages, the virtual environment and its packages
build: $(VENV)/.built ## compile the native kernels in place

run: build ## start the engine with embedded defaults and print what to try
	$(PYTHON) -m api serve

test: build $(VENV)/.services ## the whole test suite
	$(PYTHON) ci/test.py full

quick: build $(VENV)/.services ## the tests worth running on every save (under a minute)
	$(PYTHON) ci/test.py quick

bench: build ## every benchmark, side by side with its peers
	$(PYTHON) -m bench

lint: build ## ruff, mypy strict, stubtest
	$(PYTHON) ci/lint.py

sanitize: build $(VENV)/.services ## the suite over kernels built with address and undefined-behaviour checks
	$(PYTHON) ci/sanitize.py

wheel: build ## a wheel from the sdist alone
	$(PYTHON) -m build --sdist --wheel

clean: ## remove what was built
	rm -rf build dist $(VENV)/.built engine/_native/*.so
