# What there is to run; `make` alone lists it. Everything lives in .venv, which is made when it is missing.
#
#   PYTHON=python3.12 make setup    with another Python (3.11 or later)
#   make test TESTS=tests/unit      a part of the tests
#   make test JOBS=0                one after another, in one process
#   make bench BENCH="--size 100M --rounds 1"
#   make bench-lab BENCH="--quick --only lossy,swarm"
#   make lab LAB="ship:rate=256k,delay=300ms,loss=2% shore"

PYTHON ?= python3
TESTS  ?=
# More than there are cores: many tests wait, for links that are slow and for programs that start.
JOBS   ?= 4
BENCH  ?=

VENV   := .venv
BIN    := $(VENV)/bin
# What an editable install is made from: when one of these is newer than the stamp, it is made again.
BUILT_FROM := pyproject.toml setup.py tools/prepare.py $(wildcard proto/*.proto src/peat_sidecar/bao/*.[ch])
CHECKED := src tests tools demo bench setup.py

.PHONY: help setup demo test check bench bench-lab lab clean

help:
	@echo "make setup   the virtual environment, with what tests and checks need"
	@echo "make demo    a package goes from one sidecar to another, in under a minute; no root needed"
	@echo "make test    all tests; as root it installs the tools they need by apt"
	@echo "make check   ruff, ruff format, mypy --strict, and the rule of who imports whom"
	@echo "make bench   speeds beside their peers on this machine, measured in the same run"
	@echo "make bench-lab  links that lose, delay, throttle and break, beside Rust, curl and skopeo; needs root"
	@echo "make lab     hosts in network namespaces, joined by links that lose, delay and break; needs root"
	@echo "make clean   removes everything that the above made"

setup: $(VENV)/installed-dev

$(VENV)/installed: $(BUILT_FROM)
	@$(PYTHON) tools/prepare.py $(VENV)
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(PYTHON) tools/prepare.py $(VENV) --extra dev
	@touch $@

demo: $(VENV)/installed
	@$(BIN)/python tools/system_packages.py demo
	@$(BIN)/python -m demo

test: $(VENV)/installed-dev
	@$(BIN)/python tools/system_packages.py test
	@$(BIN)/python -m pytest -p tools.no_skips -n $(JOBS) --dist loadfile $(TESTS)

check: $(VENV)/installed-dev
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy --strict
	$(BIN)/mypy --strict -p demo -p bench -p tools
	$(BIN)/python -m pytest tests/unit/test_floors.py

bench: $(VENV)/installed-dev
	@$(BIN)/python tools/system_packages.py bench
	@$(BIN)/python -m bench $(BENCH)

bench-lab: $(VENV)/installed-dev
	@$(BIN)/python tools/system_packages.py bench
	@$(BIN)/python -m bench.lab $(BENCH)

lab: $(VENV)/installed-dev
	@$(BIN)/python tools/system_packages.py test
	@$(BIN)/python -m tests.lab $(LAB)

clean:
	rm -rf $(VENV) build dist src/*.egg-info src/peat_sidecar/rpc/generated .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests tools demo bench -name __pycache__ -type d -prune -exec rm -rf {} +
	find src -name '*.so' -delete
