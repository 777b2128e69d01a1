WINDOWS := $(filter Windows_NT,$(OS))
PYTHON  ?= $(if $(WINDOWS),python,python3)
VENV    ?= .venv
BIN     := $(VENV)/$(if $(WINDOWS),Scripts,bin)
STAMP   := $(VENV)/.installed

.PHONY: help setup demo test browser kill soak supply lint lab bench figures site clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## make .venv and install everything into it (once)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed; {sys.executable} is {v[0]}.{v[1]}. Try: make PYTHON=python3.12 setup")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet -e '.[lab,test,export,scale,models,hub]'
	@touch $@

demo: $(STAMP) ## generate data, search, derive, train, evaluate: the whole method in minutes
	$(BIN)/msinet demo --run runs/demo

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

test: $(STAMP) lint ## lint, types and all tests (those in a browser are skipped where there is none)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not notebooks and not browser' \
	-n logical --maxprocesses 4 --dist worksteal
	$(BIN)/python -m pytest -m 'notebooks or browser'

browser: $(STAMP) ## only the tests that drive the panels in JupyterLab with Chromium
	$(BIN)/python -m pytest -m browser

kill: $(STAMP) ## 20 kill -9 of a search and a training, then 1,000 file faults and 2,000 bad inputs (an hour)
	$(BIN)/python -m benchmarks.kill --kills 20
	$(BIN)/python -m benchmarks.faults --faults 1000
	$(BIN)/python -m benchmarks.fuzz --inputs 2000

soak: $(STAMP) ## ten minutes of search with a panel on its folder: memory and open files must not grow
	$(BIN)/python -m benchmarks.soak --minutes 10

AUDIT := $(VENV)/audit
supply: $(STAMP) ## look the installed packages up in the advisory database; fails where it cannot be asked
	@$(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/$(notdir $(BIN))/python -m pip install --quiet --disable-pip-version-check pip-audit || \
	{ echo 'supply: pip-audit cannot be installed from here; nothing was looked up'; exit 1; }
	@$(AUDIT)/$(notdir $(BIN))/pip-audit --progress-spinner off \
	--path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" > $(AUDIT)/report.txt 2>&1; \
	status=$$?; unknown=$$(grep -c 'could not be audited' $(AUDIT)/report.txt); cat $(AUDIT)/report.txt; \
	all=$$($(BIN)/python -m pip list --format freeze | grep -c ==); \
	if [ $$unknown -gt 5 ] || [ $$unknown -ge $$all ]; then echo "supply: $$unknown of $$all packages could not be looked up, so this says little; is the advisory database reachable?"; exit 1; fi; \
	exit $$status

lab: $(STAMP) ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=. notebooks

bench: $(STAMP) ## all benchmarks; tables go to benchmarks/results
	$(BIN)/python -m benchmarks

figures: $(STAMP) ## the pictures that the README shows
	$(BIN)/python -m msinet_lab.readme_pictures

site: $(STAMP) ## build static pages of the documentation, the executed notebooks and the API
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet -e '.[site]'
	$(BIN)/python docs/site/build.py --to build/site

clean: ## remove the environment and caches (runs and data stay)
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
