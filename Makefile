# Two commands on a fresh machine do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
USER_READY := $(VENV)/.user
SITE_READY := $(VENV)/.site
EPOCH := $(shell git log -1 --format=%ct 2>/dev/null || echo 315532800)
SPHINX := $(BIN)/sphinx-build -W --keep-going -q -d docs/_build/doctrees

# xdist shares the tests among the cores, whole files of them, as many make a fixture once.
TESTS := $(BIN)/python -m pytest -q -n auto --dist loadscope

.PHONY: demo quick test slow check format docs site linkcheck package sbom bench clean

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

site: $(SITE_READY) ## the documents as pages, in docs/_build/html; a warning is an error
	$(SPHINX) -b html docs docs/_build/html

linkcheck: $(SITE_READY) ## ask the network whether links to elsewhere lead somewhere
	$(SPHINX) -b linkcheck docs docs/_build/links

package: $(READY) ## the wheel and the source distribution, built twice: the same bytes
	$(BIN)/python -m pip install -q --disable-pip-version-check build twine
	rm -rf dist build/again
	SOURCE_DATE_EPOCH=$(EPOCH) $(BIN)/python -m build --outdir dist .
	SOURCE_DATE_EPOCH=$(EPOCH) $(BIN)/python -m build --outdir build/again .
	cd dist && for file in *; do cmp $$file ../build/again/$$file || exit 1; done
	$(BIN)/twine check --strict dist/*.whl dist/*.tar.gz

sbom: $(USER_READY) ## what an installation contains, as CycloneDX
	$(BIN)/python -m pip install -q --disable-pip-version-check cyclonedx-bom
	mkdir -p dist
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o dist/softrec.cdx.json $(BIN)/python

bench: $(READY) ## paired timings, as a table
	$(BIN)/python -m benchmarks

$(USER_READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[report]"
	touch $@

$(SITE_READY): $(USER_READY)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[report,docs]"
	touch $@

$(READY): $(USER_READY)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) demo docs/_build docs/_made
