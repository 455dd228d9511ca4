# Works from a bare clone: python 3.12 or later (or uv) and make are enough.
PYTHON := .venv/bin/python
INSTALL := $(PYTHON) -m pip install --quiet --disable-pip-version-check
COMPILE := .venv/bin/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes \
	--no-emit-index-url --no-header pyproject.toml --group build
NODE_CLIENTS := tests/serve/clients
# Neighbours stay together and have fixtures in common; who is done takes from the other.
TWO := -n 2 --dist worksteal
# A test that hangs says where, and ends.
TIMED := -o faulthandler_timeout=300 -o faulthandler_exit_on_timeout=true
# Many tests of the server and its page wait, but not for a processor.
THREE := -n 3 --dist worksteal
# Tests compile in haste (tests/conftest.py), but those that train for minutes do it as users do.
AS_USERS := --xla_backend_optimization_level=3
SLOW := slow and not alone and not drill and not gpu and not npm

.PHONY: help run demo test slow npm lint docs lock peers llama clients
help:
	@echo "make run    install what is missing into .venv, then serve the Gemini API and a chat page"
	@echo "make demo   the same, but show the trained model at work in the terminal"
	@echo "make test   the default tests (under 10 minutes on two cores); make slow: the others"
	@echo "make lint   formatting, lint and types"
	@echo "make docs   write docs/cli.md and the results in README.md anew"
	@echo "make lock   resolve requirements/*.lock anew"
	@echo "make peers  an environment of its own with the libraries that benchmarks compare with"
	@echo "make llama  the server and the bench of llama.cpp, for benchmarks to compare with (cmake, C++)"
	@echo "make clients  another with the clients that the server is tried with (make slow)"
	@echo "make npm    install the clients in JavaScript, with Node.js 20 or later, and try those"

run: .venv/run.stamp
	@.venv/bin/castor serve

demo: .venv/run.stamp
	@.venv/bin/castor demo

test: .venv/dev.stamp
	@$(PYTHON) -m pytest $(TWO) $(TIMED) -q -m "not slow and not gpu and not npm"

slow: .venv/dev.stamp
	@XLA_FLAGS="$(XLA_FLAGS) $(AS_USERS)" $(PYTHON) -m pytest $(TWO) -q -m "$(SLOW) and long"
	@$(PYTHON) -m pytest $(THREE) -q -m "$(SLOW) and not long"
	@$(PYTHON) -m pytest -q -m "slow and alone and not gpu and not npm"

npm: .venv/dev.stamp $(NODE_CLIENTS)/node_modules/.package-lock.json
	@$(PYTHON) -m pytest -q -m npm

lint: .venv/dev.stamp
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/pyright --project pyproject.toml

docs: .venv/run.stamp
	@$(PYTHON) -m castor.cli.reference > docs/cli.md
	@$(PYTHON) -m castor.cli.card README.md

lock: .venv/dev.stamp
	@$(COMPILE) --extra video --extra hf --extra device --output-file requirements/run.lock
	@$(COMPILE) --extra video --extra hf --extra device --group dev --constraint requirements/run.lock --no-annotate \
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

# The source comes with the Python package of llama.cpp; built for this machine alone.
llama: .peers-llama/llama-bench
.peers-llama/llama-bench: requirements/llama.txt | .venv-peers/peers.stamp
	@rm -rf .peers-llama
	@.venv-peers/bin/python -m pip download --quiet --disable-pip-version-check --no-deps \
		--no-binary llama-cpp-python --require-hashes --dest .peers-llama -r $<
	@tar -xzf .peers-llama/*.tar.gz --strip-components 1 -C .peers-llama
	@cmake -S .peers-llama/vendor/llama.cpp -B .peers-llama/build -D CMAKE_BUILD_TYPE=Release \
		-D GGML_NATIVE=ON -D BUILD_SHARED_LIBS=OFF -D LLAMA_OPENSSL=OFF -D LLAMA_USE_PREBUILT_UI=OFF
	@cmake --build .peers-llama/build --target llama-server llama-bench --parallel 2
	@ln .peers-llama/build/bin/llama-server .peers-llama/llama-server
	@ln .peers-llama/build/bin/llama-bench $@

# Neither do the clients of the server: they need versions of much that we do not.
clients: .venv-clients/clients.stamp .venv-clients-2/clients.stamp
.venv-clients/clients.stamp: requirements/schemathesis.txt
.venv-%/clients.stamp: requirements/%.txt | .venv/bin/python
	@$(PYTHON) -m venv .venv-$*
	@.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# npm writes this file when all is installed: it is as good as a stamp.
$(NODE_CLIENTS)/node_modules/.package-lock.json: $(NODE_CLIENTS)/package-lock.json
	@if ! command -v node >/dev/null || ! command -v npm >/dev/null; then \
		echo "node and npm are not here: install Node.js 20 or later, and try again." >&2; exit 1; \
	fi
	@cd $(NODE_CLIENTS) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@
