# Two commands do all the set-up on a fresh machine:
#   make demo   installs, generates motion clips, trains, evaluates, predicts, writes report.html
#   make test   installs, lints, type-checks, runs the tests

# The first Python that clipshift supports and that can make virtual environments.
SUPPORTED := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	if $$p -c '$(SUPPORTED)' >/dev/null 2>&1; then echo $$p; break; fi; done)
BIN := .venv/bin
DEMO := demo

.PHONY: help install demo test quick lint types unit fuzz examples docs clean
help:
	@sed -n 's/^# \{0,3\}//p' Makefile | head -3

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "error: no Python 3.11, 3.12 or 3.13 with venv and ensurepip was found."; \
		echo "  do:  install one (Debian and Ubuntu: apt-get install python3 python3-venv), or call make PYTHON=/path/to/python"; \
		exit 2; fi
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,dev]'
	@touch $@

demo: .venv/.installed
	$(BIN)/python examples/demo.py $(DEMO)

test: lint types unit

lint: .venv/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: .venv/.installed
	$(BIN)/mypy

# Of several processes, one takes all tests of a file (or of a group), what takes longest first: see tests/conftest.py.
PYTEST := $(BIN)/pytest -n auto --dist loadgroup --no-loadscope-reorder

unit: .venv/.installed
	$(PYTEST)

# What a change most likely breaks, in a minute or two: linters, types, and the tests of the lower rooms and of settings.
QUICK := tests/cli tests/config tests/datasets tests/evaluation tests/models tests/parallel tests/preprocessing \
	tests/temporal tests/video tests/weights
quick: lint
	$(PYTEST) -m 'not slow' $(QUICK)

# Reads damaged input of every kind; what fails goes to fuzz-findings/ with the command that repeats it.
FUZZ_CASES ?= 1000
FUZZ_SEED ?= 0
FUZZ_WORKERS ?= 2
fuzz: .venv/.installed
	$(BIN)/python -m tests.fuzz --cases $(FUZZ_CASES) --seed $(FUZZ_SEED) --workers $(FUZZ_WORKERS)
	PYTHONPATH=src $(BIN)/python -m tests.fuzz.disk_faults

# The programs in other languages and an RTSP server, with what they need; Debian and Ubuntu, as root. `make test` tries
# them where it is there.
EXAMPLES_NEED := cmake g++ pkg-config nlohmann-json3-dev libavcodec-dev libavformat-dev libavutil-dev libswscale-dev \
	chromium chromium-driver \
	python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-rtsp gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
	gstreamer1.0-plugins-bad
examples: .venv/.installed
	dpkg --status $(EXAMPLES_NEED) >/dev/null 2>&1 || apt-get install --yes --no-install-recommends $(EXAMPLES_NEED)
	npm ci --prefix examples/web --no-fund --no-audit
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'selenium>=4.20'
	$(BIN)/pytest tests/examples tests/video/live/test_rtsp.py

# The documentation as a site in build/site, with the reference from the docstrings; a warning is an error.
docs: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	rm -rf build/docs
	$(BIN)/python docs/make_site.py build/docs
	$(BIN)/zensical build --strict --clean

clean:
	rm -rf .venv build dist demo .mypy_cache .ruff_cache .pytest_cache
