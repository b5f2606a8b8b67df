# Two commands on a fresh machine do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
USER_READY := $(VENV)/.user

.PHONY: demo test check format bench clean

demo: $(USER_READY) ## compare three targets on the simulated shop; leaves demo/report.html
	$(BIN)/softrec demo --out demo --overwrite

test: $(READY) ## all tests
	$(BIN)/python -m pytest -q

check: $(READY) ## lint, format, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest -q

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## paired timings, as a table
	$(BIN)/python -m benchmarks

$(USER_READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(READY): $(USER_READY)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) demo
