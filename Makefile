# Each target makes .venv if it is missing or older than requirements.txt, then calls one tool.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m pipeline
STAMP := $(VENV)/installed
# Passed on only where given: `make book PROFILE=full CHAPTERS=02_wasserstein SEED=1 JOBS=4`
option = $(if $($(1)),--$(2) '$($(1))')
PROFILE_ := $(call option,PROFILE,profile)
CHAPTERS_ := $(call option,CHAPTERS,chapters)
JOBS_ := $(call option,JOBS,jobs)

.PHONY: help book test data reference confirm bench lock clean
.DEFAULT_GOAL := help

help:
	@echo 'make book       execute what changed and build the book in _build/html'
	@echo '                PROFILE=cpu|full|ci  CHAPTERS=01_objectives,…  SEED=0  JOBS=n (side by side)'
	@echo 'make test       every test, every chapter at profile ci, the rendered book in a browser'
	@echo 'make data       fetch the real data sets from their origins   NAMES=mnist,lung_nodules'
	@echo 'make reference  execute with several seeds and record the verdicts   PROFILE=cpu SEEDS=5 CHAPTERS=… JOBS=n'
	@echo '                PROFILE=full JOBS=12 MINUTES=9  on a GPU, in parts: the same command goes on'
	@echo 'make confirm    after a change that should change no number: execute one seed of stale records and compare'
	@echo '                PROFILE=cpu CHAPTERS=… JOBS=n  BEFORE=a checkout of the recorded code, where processors differ'
	@echo 'make bench      compare the training loop with others'
	@echo 'make lock       pin all packages anew, after a change of requirements.in or of the dependencies of pyproject.toml'
	@echo 'make clean      remove what was built, but not .venv and downloaded data'

book: $(STAMP)
	@$(RUN) book $(PROFILE_) $(CHAPTERS_) $(JOBS_) $(call option,SEED,seed)

test: $(STAMP)
	@$(RUN) test

data: $(STAMP)
	@$(RUN) data $(call option,NAMES,names)

reference: $(STAMP)
	@$(RUN) reference $(PROFILE_) $(CHAPTERS_) $(JOBS_) $(call option,SEEDS,seeds) $(call option,MINUTES,minutes)

confirm: $(STAMP)
	@$(RUN) confirm $(PROFILE_) $(CHAPTERS_) $(JOBS_) $(call option,BEFORE,before)

bench: $(STAMP)
	@$(RUN) bench

lock: $(STAMP)
	@$(RUN) lock

clean:
	rm -rf _build .snakemake .pytest_cache .ruff_cache .hypothesis

# The stamp is written last, so an interrupted installation is taken up again. The lists are complete, so pip looks for no
# dependencies, and checks at the end that none is missing. pipeline/lock.py says why PyTorch needs three lists.
INSTALL := $(VENV)/bin/python -m pip install --disable-pip-version-check --require-hashes --no-deps

$(STAMP): requirements.txt requirements-cpu.txt requirements-cuda.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo 'This needs Python 3.11 or newer as $(PYTHON); name another one: make PYTHON=python3.12 …' >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	    echo 'This Python lacks venv or ensurepip; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	@rm -f $@
	@echo 'Making $(VENV): installing the packages of requirements.txt, once, some minutes …'
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv --clear $(VENV)
	@$(INSTALL) --quiet -r requirements-cpu.txt 2>/dev/null || true
	@$(INSTALL) -r requirements.txt
	@if $(VENV)/bin/python -c 'import importlib.metadata as m, sys; \
	    sys.exit(not any(name.startswith("nvidia") for name in m.requires("torch")))'; \
	    then $(INSTALL) -r requirements-cuda.txt; fi
	@$(VENV)/bin/python -m pip check
	@$(VENV)/bin/python -c 'import pathlib, sysconfig; \
	    pathlib.Path(sysconfig.get_path("purelib"), "medgan_lib_checkout.pth").write_text(str(pathlib.Path.cwd()) + "\n")'
	@touch $@
