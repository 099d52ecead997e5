# `make serve` and `make test` do all of their own set-up, in .venv; see `make help`.

# The first of these that is Python 3.11 or 3.12 is used. To choose: make test PYTHON=python3.11
PYTHON ?= python3.12 python3.11 python3

# Named for PYTHON, so that another choice makes .venv anew.
empty :=
INSTALLED := .venv/installed-by-$(subst /,_,$(subst $(empty) ,_,$(strip $(PYTHON))))
RUN := .venv/bin/python -m

.DEFAULT_GOAL := help
.PHONY: help serve test check bench examples documents wheel prerequisites clean

help: ## say what make can do here
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

serve: $(INSTALLED) ## serve on 127.0.0.1 for a local trial, without authentication (CDS_PORT, default 8000)
	@CDS_AUTH=off CDS_HOST=127.0.0.1 .venv/bin/cds serve

test: $(INSTALLED) ## run the tests
	$(RUN) pytest

check: $(INSTALLED) ## check style, types, the order of the house, the rule files, what is deployed
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	.venv/bin/lint-imports --no-logo
	.venv/bin/cds rules check
	.venv/bin/cds rules test --coverage 100
	.venv/bin/hadolint --no-color --failure-threshold style Dockerfile
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.compose-spec compose.yaml

bench: $(INSTALLED) ## measure latency, evaluations per second and memory
	.venv/bin/python benchmarks/patient_view.py
	.venv/bin/python benchmarks/evaluations.py
	.venv/bin/python benchmarks/engine_memory.py

examples: $(INSTALLED) ## make the requests and expected cards of fhir_examples/ anew, after a change to rules or bundles
	.venv/bin/python fhir_examples/build.py

documents: $(INSTALLED) ## make anew what is made from the rules: schemas, FHIR CodeSystems, docs/
	.venv/bin/cds rules schema --out rules/schema
	$(RUN) cds.authoring.code_systems rules
	$(RUN) cds.authoring.codes docs/problems
	$(RUN) cds.authoring.knowledge docs/knowledge.md
	$(RUN) cds.authoring.reference docs/reference.md

wheel: $(INSTALLED) ## build the wheel and the source distribution into dist/
	$(RUN) hatchling build -d dist

# Sets $$python; says what is missing where the rule engine could not be compiled.
define FIND_PYTHON
for candidate in $(PYTHON); do \
	if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
		2>/dev/null; then python=$$candidate; break; fi; \
done; \
if [ -z "$$python" ]; then \
	echo 'Python 3.11 or 3.12 is needed; none was found among: $(PYTHON)'; \
	echo 'Install one, or name it: make test PYTHON=/path/to/python3.12'; exit 1; \
fi >&2; \
if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	echo "$$python cannot make virtual environments."; \
	echo 'On Debian and Ubuntu: apt-get install python3-venv'; exit 1; \
fi >&2; \
compiler=$${CC:-$$("$$python" -c 'import sysconfig; print(sysconfig.get_config_var("CC"))')}; \
headers=$$("$$python" -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
if ! echo '#include <Python.h>' | $$compiler -I"$$headers" -x c -fsyntax-only -; then \
	echo 'The rule engine durable_rules is compiled when it is installed, and that would fail:'; \
	echo "the compiler ($$compiler) is missing, or the headers of $$python in $$headers are."; \
	echo 'On Debian and Ubuntu: apt-get install build-essential python3-dev'; exit 1; \
fi >&2
endef

prerequisites: ## say whether Python, its headers and the C compiler are there
	@$(FIND_PYTHON); echo "Found $$("$$python" --version) ($$python) and a C compiler ($$compiler)."

# PIP_BUILD_CONSTRAINT says to pip 25.3 and later what PIP_CONSTRAINT says to those before: the
# tools that durable_rules and this package are built with are constrained too.
$(INSTALLED): pyproject.toml constraints.txt
	@$(FIND_PYTHON); \
	echo "Setting up .venv with $$("$$python" --version); this takes about a minute."; \
	"$$python" -m venv --clear .venv
	@PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
		$(RUN) pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch '$@'

clean: ## remove what make and the tools have made
	rm -rf .venv dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
