# Everything happens in .venv; nothing is installed outside it.
# The system's own Python, as hospitals have it, where it is new enough and makes environments: distributions build it
# with all optimisation, so that tests take a tenth less time than with most others.
PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo /usr/bin/python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
BENCHMARKS := $(shell grep -l __main__ benchmarks/*.py)
# A worker takes whole files, in the order that tests/conftest.py gives them: the longest first. One more than there are
# cores, as tests of federations wait for each other's processes; on two cores three are no slower than four and take less.
WORKERS := $(shell cores=$$(OMP_NUM_THREADS= nproc); echo $$((cores < 3 ? cores + 1 : 4)))
SIDE_BY_SIDE := --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder --durations=25
# Hundreds of processes load this project's code: compiled once, also where the environment says otherwise.
TESTED := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore

.PHONY: help simulate federation test benchtest coverage lint types bench site wheelhouse gallery docs lock clean

help:  ## list what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

simulate: $(VENV)/installed  ## four synthetic hospitals train one model together
	$(BIN)/wardround simulate configs/jobs/quickstart.toml

federation: $(VENV)/installed  ## a coordinator and three hospitals as processes of their own, over mutual TLS
	$(BIN)/python -m simulate.federation.main configs/jobs/quickstart.toml

test: $(VENV)/installed-dev  ## run the tests
	$(TESTED) $(SIDE_BY_SIDE) --ignore=tests/benchmarks

benchtest: $(VENV)/installed-dev  ## run each benchmark quickly, held to no figure
	$(TESTED) $(SIDE_BY_SIDE) tests/benchmarks

coverage: $(VENV)/installed-dev  ## both, with coverage: a third slower
	$(TESTED) $(SIDE_BY_SIDE) --cov --cov-report=term:skip-covered

lint: $(VENV)/installed-dev  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev  ## check types
	$(BIN)/mypy

bench: $(VENV)/installed-dev  ## run every benchmark; fails where a figure is missed
	@failed=0; for script in $(BENCHMARKS); do \
		echo "== $$script"; $(BIN)/python $$script || failed=1; \
	done; exit $$failed

site: $(VENV)/installed-dev  ## build the documentation site into build/site, with the notebooks run; a broken link is an error
	NO_MKDOCS_2_WARNING=1 RUN_NOTEBOOKS=1 $(BIN)/python -m mkdocs build --strict --quiet

wheelhouse:  ## pack what is installed without a network: build/wardround-site.tar, build/wardround-coordinator.tar
	PYTHON=$(PYTHON) deploy/wheelhouse.sh

gallery: $(VENV)/installed-dev  ## write docs/gallery.md: pictures of synthetic hospitals, figures that benchmarks/science.py left
	OMP_NUM_THREADS=1 $(BIN)/python -m docs.images.make_gallery

docs: $(VENV)/installed-dev  ## renew the tables of docs/job.md and the JSON Schemas from the models
	$(BIN)/python -m shared.job.template docs/job.md
	for side in job client server; do $(BIN)/wardround $$side schema > configs/schemas/$$side.schema.json; done
	mv configs/schemas/client.schema.json configs/schemas/site.schema.json

lock: $(VENV)/installed-dev  ## renew requirements.lock, the SHA-256 of every file of the versions in constraints.txt
	$(BIN)/python -m uv pip compile --quiet --no-deps --generate-hashes --no-header --no-annotate --python-version 3.11.2 \
		--system-certs constraints.txt --output-file requirements.lock

clean:  ## remove .venv and what tools left behind; runs are kept
	rm -rf $(VENV) .venv-other build dist *.egg-info .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: nothing is installed again until one of these files changes.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@
