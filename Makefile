# What users and CI call. `make help` lists it.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.run-installed
DEV_STAMP := $(VENV)/.dev-installed
INSTALL_INPUTS := pyproject.toml conf/constraints.txt

.PHONY: help run demo test check bench torture docs format tools clean
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

run: $(RUN_STAMP)  ## install what is needed and run the node on its embedded defaults (Ctrl-C stops it)
	@exec $(BIN)/dicom-fhir-node serve $(if $(CONFIG),--config $(CONFIG))

demo: $(RUN_STAMP)  ## send a small made-up study to the running node and show its event
	@exec $(BIN)/dicom-fhir-node demo $(if $(CONFIG),--config $(CONFIG))

test: $(DEV_STAMP) tools  ## install what is needed and run every test
	$(BIN)/python -m pytest $(TESTS)

check: $(DEV_STAMP)  ## style, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(DEV_STAMP) tools  ## this node beside DCMTK, Orthanc and pynetdicom, as a table (ARGS=--quick: two minutes)
	$(BIN)/python -m tests.bench $(ARGS)

docs: $(RUN_STAMP)  ## write the pages in docs/fhir anew, from the tables that build the resources
	@mkdir -p docs/fhir
	@for name in $$($(BIN)/python -c 'from node.fhir.targets import PROFILES; print(*PROFILES)'); do \
		$(BIN)/dicom-fhir-node fhir --explain --profile $$name > docs/fhir/$$name.md || exit 1; done

torture: $(DEV_STAMP) tools  ## kill the node 200 times under load and see whether it kept its word (ARGS='--cycles 20 --seed 7')
	$(BIN)/python -m tests.torture $(ARGS)

format: $(DEV_STAMP)  ## put the code into its shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what was installed and built here; var/ stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# ---- what these need

$(VENV)/bin/python:
	@tests/install/venv.sh $(PYTHON) $(VENV)

$(RUN_STAMP): $(VENV)/bin/python $(INSTALL_INPUTS)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint conf/constraints.txt --editable .
	@touch $@

$(DEV_STAMP): $(VENV)/bin/python $(INSTALL_INPUTS)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint conf/constraints.txt --editable '.[dev]'
	@touch $(RUN_STAMP) $@

tools:
	@tests/install/tools.sh
