# The commands of the README: `make app`, `make gallery` and `make test`. Each makes the environment first.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
GALLERY := out/gallery

.PHONY: app gallery test test-browser check clean

app: $(VENV)/.installed
	$(BIN)/iminet-viz app

gallery: $(VENV)/.installed
	$(BIN)/iminet-viz gallery build --models tl-iminet-conv123 tl-iminet-scratch --neurons 4 --out $(GALLERY) --force

test: $(VENV)/.installed
	OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test-browser: $(VENV)/.installed  # needs Debian's chromium
	OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -m browser

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "iminet-viz needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@# Debian's python3 comes without the part of venv that installs pip
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv; } \
	  || { echo "Python's venv module is missing: sudo apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) out build *.egg-info
