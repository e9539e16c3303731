# What users and CI call. `make help` lists it.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SECONDS ?= 60
MINUTES ?= 10
RUN_STAMP := $(VENV)/.run-installed
DEV_STAMP := $(VENV)/.dev-installed
WORKERS ?= 2
INSTALL_INPUTS := pyproject.toml conf/constraints.txt

.PHONY: help run demo test check bench torture fuzz soak docs pictures dashboards format tools clean
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

run: $(RUN_STAMP)  ## install what is needed and run the node on its embedded defaults (Ctrl-C stops it)
	@exec $(BIN)/dicom-fhir-node serve $(if $(CONFIG),--config $(CONFIG))

demo: $(RUN_STAMP)  ## send a small made-up study to the running node and show its event
	@exec $(BIN)/dicom-fhir-node demo $(if $(CONFIG),--config $(CONFIG))

test: $(DEV_STAMP) tools  ## install what is needed and run every test
	@$(BIN)/python -m tests.jars
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(TESTS)

check: $(DEV_STAMP)  ## style, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(DEV_STAMP) tools  ## this node beside DCMTK, Orthanc and pynetdicom, as a table (ARGS=--quick: four minutes)
	$(BIN)/python -m tests.bench $(ARGS)

fuzz: $(DEV_STAMP)  ## look for bytes that break protocol, negotiation or header scan (SECONDS=60 for each of four)
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint conf/constraints.txt atheris==3.0.0 \
		|| echo "atheris is not to be had here; hypothesis makes the input instead"
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

soak: $(DEV_STAMP)  ## scanners, attackers and a reader against one node (MINUTES=10): no growth, no error
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

docs: $(DEV_STAMP) dashboards  ## write all anew that is made of the code: docs, AsyncAPI, schemas, the dashboard
	@mkdir -p docs/fhir
	@for name in $$($(BIN)/python -c 'from node.fhir.targets import PROFILES; print(*PROFILES)'); do \
		$(BIN)/dicom-fhir-node fhir --explain --profile $$name > docs/fhir/$$name.md || exit 1; done
	@$(BIN)/python -B conf/prometheus/reference.py > docs/metrics.md
	@$(BIN)/python -m node.conformance

pictures: $(DEV_STAMP) tools  ## take the pictures of the status page in docs/pictures anew, of a made-up morning
	NODE_PICTURES=$(CURDIR)/docs/pictures $(BIN)/python -m pytest -q tests/scenarios/test_pictures.py

dashboards: $(DEV_STAMP)  ## write conf/grafana/dashboard.json anew, after a change of what it shows
	@$(BIN)/python -B conf/grafana/dashboard.py > conf/grafana/dashboard.json

torture: $(DEV_STAMP) tools  ## kill the node 200 times under load and see whether it kept its word (ARGS='--cycles 20 --seed 7')
	$(BIN)/python -m tests.torture $(ARGS)

format: $(DEV_STAMP)  ## put the code into its shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what was installed and built here; var/ stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

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
