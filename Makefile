# The two commands of the README: `make demo` and `make test`. Both need python3 (3.11 or newer)
# and nothing else; what they install goes into .venv, locked with hashes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LINKS := tools/ns/nemotron/kit tools/ns/nemotron/lineage
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
UV ?= uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate

.PHONY: demo test test-hydra test-wandb test-postgres test-root test-all lint types docs locks \
	clean

demo: $(VENV)/demo.done
	$(BIN)/lineage demo demo-out

test: $(VENV)/test.done
	$(BIN)/python -m pytest -q -n auto -m "not root and not postgres" tests

# full disks and read-only ones, really mounted
test-root: $(VENV)/test.done
	$(BIN)/python -m pytest -q -m root tests

# a PostgreSQL server, started by the tests in a temporary folder
test-postgres: $(VENV)/test.done
	@ls /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb 2>/dev/null | grep -q . || \
		command -v initdb >/dev/null || \
		{ echo "no PostgreSQL server here. Try: apt-get install postgresql"; exit 1; }
	$(BIN)/python -m pytest -q -n auto -m postgres tests

# Hydra 1.3 and the older OmegaConf that it needs
test-hydra: $(VENV)/hydra.done
	PYTHONPATH=$(VENV)/hydra $(BIN)/python -m pytest -q tests/kit/test_resolvers.py

# the real wandb, against a server on this machine, in an environment of its own
test-wandb: $(VENV)-wandb/test.done
	$(VENV)-wandb/bin/python -m pytest -q -n auto tests/kit/test_wandb.py \
		tests/kit/test_credentials.py

test-all: test docs test-hydra test-wandb test-postgres test-root

lint: $(VENV)/lint.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/lint.done
	$(BIN)/mypy

# the reference and the examples in docstrings; those of the pages run in tests/docs
docs: $(VENV)/test.done
	$(BIN)/python docs/generate.py --check
	$(BIN)/python -m pytest -q --doctest-modules -p no:randomly --pyargs nemotron.lineage nemotron.kit

locks: # one set of versions for all three, so that one environment serves them
	$(COMPILE) pyproject.toml locks/build.in --extra demo --extra testing --extra postgres \
		--extra s3 --group test --group servers --group lint -o locks/lint.txt
	$(COMPILE) pyproject.toml locks/build.in --extra demo --extra testing --extra postgres \
		--extra s3 --group test --group servers -c locks/lint.txt -o locks/test.txt
	$(COMPILE) pyproject.toml locks/build.in --extra demo -c locks/lint.txt -o locks/demo.txt
	$(COMPILE) locks/hydra.in -o locks/hydra.txt
	$(COMPILE) pyproject.toml locks/wandb.in --extra testing --extra wandb --group test \
		-c locks/lint.txt -o locks/wandb.txt

clean:
	rm -rf $(VENV) $(VENV)-wandb build demo-out *.egg-info

# A virtual environment with pip in it, also where Debian's python3 comes without ensurepip.
$(VENV)/made.done:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV) || $(PYTHON) -m virtualenv $(VENV) || \
		{ $(PYTHON) -m venv --without-pip $(VENV) && \
		$(PYTHON) -m pip --python $(VENV)/bin/python install --quiet pip; }
	@touch $@

# The demo runs from an installed wheel, as a user has it; development runs from the folder.
$(VENV)/demo.done: $(VENV)/made.done locks/demo.txt pyproject.toml $(shell find kit lineage -name '*.py')
	$(PIP) install --require-hashes --only-binary :all: -r locks/demo.txt
	$(PIP) install --no-deps --no-build-isolation --force-reinstall .
	@rm -rf build nemotron_lineage.egg-info
	@touch $@

# An sdist cannot hold links to folders.
$(LINKS):
	mkdir -p $(@D)
	ln -s ../../../$(@F) $@

$(VENV)/test.done: $(VENV)/demo.done locks/test.txt | $(LINKS)
	$(PIP) install --require-hashes --only-binary :all: -r locks/test.txt
	@touch $@

$(VENV)/hydra.done: $(VENV)/test.done locks/hydra.txt
	rm -rf $(VENV)/hydra
	$(PIP) install --require-hashes --no-deps --no-build-isolation --target $(VENV)/hydra \
		-r locks/hydra.txt
	@touch $@

$(VENV)-wandb/test.done: $(VENV)/made.done locks/wandb.txt | $(LINKS)
	$(BIN)/python -m venv --clear --without-pip $(@D)
	$(PIP) --python $(@D)/bin/python install --require-hashes --only-binary :all: \
		-r locks/wandb.txt
	@touch $@

$(VENV)/lint.done: $(VENV)/test.done locks/lint.txt
	$(PIP) install --require-hashes --only-binary :all: -r locks/lint.txt
	@touch $@
