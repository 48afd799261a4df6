# Everything a fresh Debian with Python 3.11, pip and make needs is set up here; each target may be run first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export NEXTBEST_HOME ?= .nextbest

.PHONY: demo serve test check bench fuzz peers peers-obp lock clean help

help:
	@echo "make demo   learn from 1.47 million real shop lines and answer three questions over HTTP"
	@echo "make serve  serve what the demo trained, until Ctrl-C"
	@echo "make test   the test suite        make check  format, lint, types, layers"
	@echo "make bench  every benchmark that needs no file    make lock  renew constraints.txt"
	@echo "make fuzz   ten minutes of whatever the OpenAPI document allows and forbids"
	@echo "make peers  the libraries the benchmarks compare with, in an environment of their own"

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: apt-get install python3.11 python3.11-venv, or make PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pinned packages into $(VENV) (2 GB, a few minutes the first time)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --progress-bar off -c constraints.txt -e ".[dev]"
	@touch $(STAMP)

demo: $(STAMP)
	@$(BIN)/nextbest demo

serve: $(STAMP)
	@$(BIN)/nextbest serve

# The real browser and server SDKs the tests speak to the service with; where npm is missing those tests are skipped.
CLIENTS := tests/clients/node_modules/.package-lock.json
$(CLIENTS): tests/clients/package-lock.json
	@if command -v npm >/dev/null; then npm ci --silent --no-audit --no-fund --ignore-scripts --prefix tests/clients; \
	 else echo "no npm: tests with the clients' packages are skipped (apt-get install npm)"; fi
	@command -v chromium >/dev/null || echo "no chromium: browser tests are skipped (apt-get install chromium)"

test: $(STAMP) $(CLIENTS)
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	@mkdir -p bench-out
	@for name in ingest features next_basket churn association; do \
	  echo "== $$name"; $(BIN)/python -m benchmarks.$$name --data complete-journey --json bench-out/$$name.json || exit 1; done
	@echo "== off_policy, simulated"; $(BIN)/python -m benchmarks.off_policy --data simulated --json bench-out/off_policy.json
	@echo "== channel, simulated"; $(BIN)/python -m benchmarks.channel --data simulated --json bench-out/channel.json
	@test -d $(NEXTBEST_HOME)/lake || $(BIN)/nextbest demo
	@echo "== serving"; $(BIN)/python -m benchmarks.serving --home $(NEXTBEST_HOME) --json bench-out/serving.json

fuzz: $(STAMP)
	@test -d $(NEXTBEST_HOME)/lake || $(BIN)/nextbest demo
	$(BIN)/python -m benchmarks.fuzz --home $(NEXTBEST_HOME)

# RecTools, LensKit, implicit, pyfim and mlxtend: other pins than ours, so another environment (1.7 GB).
PEERS := .peers
peers: $(PEERS)/.installed peers-obp
$(PEERS)/.installed: benchmarks/peers/requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: apt-get install python3.11 python3.11-venv, or make PYTHON=..."; exit 1; }
	@command -v cc >/dev/null || { echo "no C compiler, which pyfim needs: apt-get install gcc"; exit 1; }
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@echo "installing the peers into $(PEERS) (1.7 GB, a few minutes)"
	@$(PEERS)/bin/python -m pip install -qq --disable-pip-version-check --progress-bar off -r $<
	@touch $@

# obp and the Open Bandit data in it (1.4 GB), apart from the others: benchmarks.off_policy needs no more.
peers-obp: $(PEERS)/obp/.installed
$(PEERS)/obp/.installed: benchmarks/peers/obp/requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: apt-get install python3.11 python3.11-venv, or make PYTHON=..."; exit 1; }
	@test -x $(PEERS)/obp/bin/python || $(PYTHON) -m venv $(PEERS)/obp
	@echo "installing obp into $(PEERS)/obp (1.4 GB, a few minutes)"
	@$(PEERS)/obp/bin/python -m pip install -qq --disable-pip-version-check --progress-bar off -r $<
	@touch $@

# A fresh environment from pyproject.toml's ranges, frozen. torch's local version (+cpu) is left off: the pin is the release.
lock:
	@dir=$$(mktemp -d) && $(PYTHON) -m venv $$dir/v \
	  && $$dir/v/bin/pip install -qq --disable-pip-version-check ".[dev]" \
	  && { echo "# The versions everything is tested with. Made by: make lock"; \
	       $$dir/v/bin/pip freeze --exclude nextbest | sed 's/+cpu$$//'; } > constraints.txt.new \
	  && mv constraints.txt.new constraints.txt; status=$$?; rm -rf $$dir; exit $$status

clean:
	rm -rf $(VENV) $(PEERS) .nextbest bench-out build *.egg-info
