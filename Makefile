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

# Environments of frameworks are heavy: one each outside the repository, for every checkout.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/nemotron-lineage
TORCH := torch==2.13.0
key = $(firstword $(shell cat $(1) | cksum))
MEGATRON := $(CACHE)/megatron-$(call key,locks/megatron.txt)
WANDB_OLDEST := $(CACHE)/wandb-0.26-$(call key,locks/wandb-0.26.txt)
WANDB_OLD := $(CACHE)/wandb-0.23-$(call key,locks/wandb-0.23.txt) \
	$(CACHE)/wandb-0.24-$(call key,locks/wandb-0.24.txt)
NEMO_RUN := $(CACHE)/nemo-run-$(call key,locks/nemo-run.txt)
RAY := $(CACHE)/ray-$(call key,locks/ray.txt)

# a folder that is named as what it tests: pytest would take the one for the other
FOUND = -o pythonpath="tools/ns tests/integration/$(1)"

# seconds that a storm of killed writers lasts
STORM := $(or $(LINEAGE_STORM),10)

.PHONY: demo demo-megatron test test-storm test-hydra test-wandb test-wandb-ids \
	test-postgres test-megatron test-nemo-rl test-root test-nemo-run test-slurm test-ray \
	test-all lint types docs locks clean

demo: $(VENV)/demo.done
	$(BIN)/lineage demo demo-out

# pretraining and finetuning by the real Megatron-Bridge, on the CPU
demo-megatron: $(MEGATRON)/made.done $(VENV)/demo.done | $(LINKS)
	$(BIN)/python examples/megatron/stages.py --python $(MEGATRON)/bin/python

test: $(VENV)/test.done
	$(BIN)/python -m pytest -q -n auto -m "not root and not postgres" tests

# kills writers of every kind of store for a while; for a night: LINEAGE_STORM=60 make test-storm
test-storm: $(VENV)/test.done
	LINEAGE_STORM=$(STORM) $(BIN)/python -m pytest -q -m "not postgres" tests/crash/test_storm.py

# full disks and read-only ones, really mounted
test-root: $(VENV)/test.done
	$(BIN)/python -m pytest -q -m root tests

# a PostgreSQL server, started by the tests in a temporary folder
test-postgres: $(VENV)/test.done
	@ls /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb 2>/dev/null | grep -q . || \
		command -v initdb >/dev/null || \
		{ echo "no PostgreSQL server here. Try: apt-get install postgresql"; exit 1; }
	LINEAGE_STORM=$(STORM) $(BIN)/python -m pytest -q -n auto -m postgres tests

# Hydra 1.3 and the older OmegaConf that it needs
test-hydra: $(VENV)/hydra.done
	PYTHONPATH=$(VENV)/hydra $(BIN)/python -m pytest -q tests/kit/test_resolvers.py

# the real wandb, against a server on this machine: the newest, then the oldest that is supported.
# WANDB_KILLS says how often a training is killed (20 for a night)
test-wandb: $(VENV)-wandb/test.done $(WANDB_OLDEST)/made.done | $(LINKS)
	$(VENV)-wandb/bin/python -m pytest -q -n auto tests/kit/test_wandb.py \
		tests/kit/test_credentials.py tests/kit/test_wandb_ids.py tests/integration/wandb \
		tests/integration/openlineage
	$(WANDB_OLDEST)/bin/python -m pytest -q -n auto tests/integration/wandb

# the ids of artifacts, by the two kinds of wandb that draw them twice
test-wandb-ids: $(WANDB_OLD:%=%/made.done) | $(LINKS)
	for place in $(WANDB_OLD); do \
		$$place/bin/python -m pytest -q tests/kit/test_wandb_ids.py || exit; done

# the real Megatron-Bridge, in an environment of 1.8 GB
test-megatron: $(MEGATRON)/made.done $(VENV)/test.done
	MEGATRON_PYTHON=$(MEGATRON)/bin/python $(BIN)/python -m pytest -q -p no:randomly \
		tests/integration/megatron_bridge

# the real NeMo-RL, which is on no registry: NEMO_RL_SOURCE names a folder with nemo_rl/ in it
test-nemo-rl: $(MEGATRON)/made.done $(VENV)/test.done
	test -n "$(NEMO_RL_SOURCE)" || { echo "NEMO_RL_SOURCE names no source of NeMo-RL"; exit 1; }
	NEMO_RL_PYTHON=$(MEGATRON)/bin/python $(BIN)/python -m pytest -q -n auto \
		tests/integration/nemo_rl

# the real nemo-run: every constructor, local jobs, request bodies; invoke leaves pipes open
test-nemo-run: $(NEMO_RUN)/made.done
	$(NEMO_RUN)/bin/python -m pytest -q -n auto $(call FOUND,nemo_run) \
		-W ignore::ResourceWarning tests/integration/nemo_run

# a real Slurm on this machine; needs root, and slurm-wlm, munge, openssh-server and rsync of Debian
test-slurm: $(NEMO_RUN)/made.done
	$(NEMO_RUN)/bin/python -m pytest -q tests/integration/slurm

# a real Ray on this machine
test-ray: $(RAY)/made.done
	$(RAY)/bin/python -m pytest -q $(call FOUND,ray) tests/integration/ray

test-all: test test-storm docs test-hydra test-wandb test-wandb-ids test-postgres \
	test-megatron test-root test-nemo-run test-slurm test-ray

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
	$(COMPILE) pyproject.toml locks/nemo-run.in --extra demo --extra testing --extra nemo-run \
		--group test -c locks/demo.txt -o locks/nemo-run.txt
	$(COMPILE) pyproject.toml --extra testing --extra ray --group test -c locks/lint.txt \
		-o locks/ray.txt
	$(COMPILE) pyproject.toml locks/wandb.in --extra testing --extra wandb --extra openlineage \
		--group test -c locks/lint.txt -o locks/wandb.txt
	$(COMPILE) pyproject.toml locks/wandb-0.26.in --extra testing --extra openlineage \
		--group test -c locks/lint.txt -o locks/wandb-0.26.txt
	for old in 0.23 0.24; do $(COMPILE) pyproject.toml locks/wandb-$$old.in --extra testing \
		--group test -c locks/lint.txt -o locks/wandb-$$old.txt || exit; done
	$(COMPILE) --no-deps locks/megatron.in -o locks/megatron.txt

clean:
	rm -rf $(VENV) $(VENV)-wandb build demo-out megatron-out *.egg-info

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

# These are found by what their locks hold, so nothing that is newer makes them anew.
# torch has one build a machine, and no hash that holds for all of them.
$(MEGATRON)/made.done:
	mkdir -p $(CACHE)
	$(PYTHON) -m venv --clear $(@D) || $(PYTHON) -m virtualenv --clear $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check --quiet install $(TORCH)
	$(@D)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes \
		--no-deps -r locks/megatron.txt
	@touch $@

$(CACHE)/wandb-%/made.done: | $(VENV)/made.done
	mkdir -p $(CACHE)
	$(BIN)/python -m venv --clear --without-pip $(@D)
	$(PIP) --python $(@D)/bin/python install --require-hashes --only-binary :all: \
		-r locks/wandb-$(firstword $(subst -, ,$*)).txt
	@touch $@

$(NEMO_RUN)/made.done: LOCK = locks/nemo-run.txt
$(RAY)/made.done: LOCK = locks/ray.txt
$(NEMO_RUN)/made.done $(RAY)/made.done: | $(VENV)/made.done $(LINKS)
	mkdir -p $(CACHE)
	$(BIN)/python -m venv --clear --without-pip $(@D)
	$(PIP) --python $(@D)/bin/python install --require-hashes --only-binary :all: -r $(LOCK)
	@touch $@

$(VENV)/lint.done: $(VENV)/test.done locks/lint.txt
	$(PIP) install --require-hashes --only-binary :all: -r locks/lint.txt
	@touch $@
