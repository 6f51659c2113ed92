# Every target sets itself up: a virtual environment in .venv with the pinned dependencies, and ffmpeg.
# Setting up happens once; it happens again only when constraints.txt or pyproject.toml change.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup dub test slow check fix bench bench-gpu chaos e2e sample train-compact experiments constraints clean

# The pinned wheels exist for Python 3.11 and 3.12; name another with `make PYTHON=... setup`.
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready
export DO_NOT_TRACK = 1
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export RAY_USAGE_STATS_ENABLED = 0
export HF_HUB_OFFLINE = 1

help:  ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(READY) ffmpeg  ## the virtual environment and ffmpeg (the other targets do this themselves)

$(READY): constraints.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed and neither was found; install one, or: make PYTHON=/path/to/python3.11 setup"; exit 1; }
	@echo "Setting up .venv with $(PYTHON) (about 2 minutes, once) ..."
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv || { echo "no venv module: install it (Debian: apt-get install python3-venv)"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: ffmpeg
ffmpeg:
	@command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null || { \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing ffmpeg ..."; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq ffmpeg >/dev/null; \
	else \
		echo "ffmpeg and ffprobe are needed: install them (Debian: sudo apt-get install ffmpeg; macOS: brew install ffmpeg)"; exit 1; \
	fi; }

# The report's page is tested in a real browser; without one those tests skip and say so.
.PHONY: browser
browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& echo "Installing chromium for the browser tests ..." && apt-get update -qq \
		&& DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } \
	|| echo "no chromium: the browser tests will skip (Debian: sudo apt-get install chromium)"

dub: setup  ## dub the sample catalogue; prints where the videos and the report are
	@$(BIN)/dubwright dub examples/catalogue.csv --out out/sample

test: setup browser  ## every test but the slow ones, two files at a time
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

slow: setup  ## the slow tests
	@$(BIN)/python -m pytest -q -m slow

e2e: setup  ## only the end-to-end tests
	@$(BIN)/python -m pytest -q tests/e2e

check: setup  ## lint, format, types and the dependency picture
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

fix: setup  ## what the linter and the formatter can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup  ## measured numbers: ratios within one run (some only: make bench WHAT=reader)
	@$(BIN)/python -m tests.support.bench $(WHAT)

bench-gpu: setup  ## the model's speed on a CUDA device: training steps, frames/s, the floor of their arithmetic
	@$(BIN)/python -m tests.support.bench_model

SCHEDULES := 200
SEED := 0
chaos: setup  ## a run, a sweep and a repair killed at each step, then 200 random schedules: all end as if left alone
	@$(BIN)/python -m tests.support.chaos --every-step run sweep repair --schedules $(SCHEDULES) --seed $(SEED)

sample: setup  ## make the committed sample again (needs espeak-ng)
	@$(BIN)/dubwright sample examples

COMPACT_WORK := runs/compact
SHARED := ../shared
train-compact: setup  ## train the checkpoint that ships further, on footage, GRID, news and generated titles (hours)
	@test -d $(SHARED)/grid || { echo "the training footage is not in $(SHARED); name its folder: make train-compact SHARED=..."; exit 1; }
	@test -f $(COMPACT_WORK)/titles/catalogue.csv || $(BIN)/dubwright sample $(COMPACT_WORK)/titles --titles 24 --seed 7
	@$(BIN)/python -m tests.support.compact_corpus $(SHARED) $(COMPACT_WORK)/titles $(COMPACT_WORK)/sources.csv
	@$(BIN)/dubwright preprocess $(COMPACT_WORK)/sources.csv --store $(COMPACT_WORK)/store --config examples/compact-corpus.yaml
	@$(BIN)/dubwright train --store $(COMPACT_WORK)/store --out $(COMPACT_WORK)/checkpoint --preset compact --config examples/compact.yaml
	@$(BIN)/python -m tests.support.ship $(COMPACT_WORK)/checkpoint $(COMPACT_WORK)/store

experiments: setup  ## the paper's first three, three seeds each, on the store of train-compact; into the card that ships
	@test -d $(COMPACT_WORK)/store || { echo "there is no $(COMPACT_WORK)/store yet: make train-compact prepares it"; exit 1; }
	@$(BIN)/python -m tests.support.experiments $(COMPACT_WORK)/store $(COMPACT_WORK)/experiments
	@$(BIN)/python -m tests.support.ship model/shipped $(COMPACT_WORK)/store --experiments $(COMPACT_WORK)/experiments/experiments.md

constraints: setup  ## write constraints.txt anew from what is installed in .venv
	@$(BIN)/python .ci/pin.py > constraints.new && mv constraints.new constraints.txt && touch $(READY)

clean:  ## remove the environment and what the commands made
	rm -rf .venv out runs build *.egg-info
