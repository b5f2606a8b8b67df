# Two commands on a fresh machine do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
USER_READY := $(VENV)/.user

# xdist shares the tests among the cores, whole files of them, as many make a fixture once.
TESTS := $(BIN)/python -m pytest -q -n auto --dist loadscope

.PHONY: demo quick test slow check format docs bench clean

demo: $(USER_READY) ## compare three targets on the simulated shop; leaves demo/report.html
	$(BIN)/softrec demo --out demo --overwrite

quick: $(READY) ## the fast tests, about a minute
	$(TESTS) -m "not slow and not exhaustive"

test: $(READY) ## all tests; of products of axes those that try each pair of values
	$(TESTS) -m "not exhaustive"

slow: $(READY) ## all tests, whole products, too
	$(TESTS)

check: $(READY) ## lint, format, types, all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(TESTS)

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY) ## write the tables of the documents again, from the settings
	$(BIN)/python -m softrec.recipe.tables docs/recipes.md docs/models.md src/softrec/cli/listed.json

bench: $(READY) ## paired timings, as a table
	$(BIN)/python -m benchmarks

$(USER_READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[report]"
	touch $@

$(READY): $(USER_READY)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) demo
