# Works from a bare clone: python 3.12 or later (or uv) and make are enough.
PYTHON := .venv/bin/python
INSTALL := $(PYTHON) -m pip install --quiet --disable-pip-version-check
COMPILE := .venv/bin/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes \
	--no-emit-index-url --no-header pyproject.toml --group build

.PHONY: help run test slow lint docs lock peers clients
help:
	@echo "make run    install what is missing into .venv, then show the trained model at work"
	@echo "make test   the default tests (under 10 minutes on two cores); make slow: the others"
	@echo "make lint   formatting, lint and types"
	@echo "make docs   write docs/cli.md and the results in README.md anew"
	@echo "make lock   resolve requirements/*.lock anew"
	@echo "make peers  an environment of its own with the libraries that benchmarks compare with"
	@echo "make clients  another with the clients that the server is tried with (make slow)"

run: .venv/run.stamp
	@.venv/bin/castor demo

test: .venv/dev.stamp
	@$(PYTHON) -m pytest -n 2 -q -m "not slow and not gpu"

slow: .venv/dev.stamp
	@$(PYTHON) -m pytest -q -m "slow and not gpu"

lint: .venv/dev.stamp
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/pyright --project pyproject.toml

docs: .venv/run.stamp
	@$(PYTHON) -m castor.cli.reference > docs/cli.md
	@$(PYTHON) -m castor.cli.card README.md

lock: .venv/dev.stamp
	@$(COMPILE) --extra video --output-file requirements/run.lock
	@$(COMPILE) --extra video --group dev --constraint requirements/run.lock --no-annotate \
		--output-file requirements/dev.lock

# A stamp is older than its lock only when something must be installed. dev.lock holds run.lock.
.venv/run.stamp: requirements/run.lock pyproject.toml | .venv/bin/python
	@echo "Installing Castor into .venv (a few minutes the first time) ..."
	@$(INSTALL) --require-hashes -r requirements/run.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: requirements/dev.lock pyproject.toml | .venv/bin/python
	@echo "Installing Castor and its tools into .venv (a few minutes the first time) ..."
	@$(INSTALL) --require-hashes -r requirements/dev.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch .venv/run.stamp $@

.venv/bin/python:
	@for name in python3 python3.12 python3.13 python3.14; do \
		if $$name -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then \
			$$name -m venv .venv && exit 0; \
			rm -rf .venv; \
		fi; \
	done; \
	if command -v uv >/dev/null; then exec uv venv --quiet --seed --python 3.12 .venv; fi; \
	echo "Castor needs Python 3.12 or later with its venv module: install it" \
		"(apt install python3.12-venv, brew install python@3.12), or uv, and try again." >&2; \
	exit 1

# torch and transformers never enter .venv: they are measured against, not built on.
peers: .venv-peers/peers.stamp
.venv-peers/peers.stamp: requirements/peers.txt
	@for name in python3.11 python3.12 python3; do \
		if $$name -c '' 2>/dev/null; then $$name -m venv .venv-peers && break; fi; \
	done
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# Neither do the clients of the server: they need versions of much that we do not.
clients: .venv-clients/clients.stamp
.venv-clients/clients.stamp: requirements/clients.txt | .venv/bin/python
	@$(PYTHON) -m venv .venv-clients
	@.venv-clients/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@
