# make demo   everything a newcomer wants to see     make test   every check
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
DATA ?= $(or $(SARCODEC_DATA),../shared/data)

# train-lapped makes the default model, train-default the fixed-ratio autoencoder residual16, train-residual64 the one for
# all rates.
.PHONY: setup demo test train-default train-lapped train-residual64 results bench seams study codec-results residual64-results codec-speed looking robustness clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sarcodec needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup
	@mkdir -p demo
	$(BIN)/sarcodec simulate demo/scene.tif --size 1024 1024 --seed 1 --overwrite
	$(BIN)/sarcodec compress demo/scene.tif demo/scene.sarc --overwrite
	$(BIN)/sarcodec decompress demo/scene.sarc demo/restored.tif --overwrite
	$(BIN)/sarcodec report demo/scene.tif demo/scene.sarc demo/report.html --restored demo/restored.tif --peer jpeg2000 --overwrite
	@echo "Open demo/report.html in a browser."

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 --dist loadfile

# The shipped weights, from the real chips and simulated scenes; see src/sarcodec/weights/MODEL_CARD.md.
train-default: setup
	BIN=$(BIN) DATA=$(DATA) bash benchmarks/train_residual16.sh

train-lapped: setup
	BIN=$(BIN) DATA=$(DATA) bash benchmarks/train_lapped64.sh

train-residual64: setup
	BIN=$(BIN) DATA=$(DATA) bash benchmarks/train_residual64.sh

# The measured tables of README.md and docs/results.
results: setup
	$(BIN)/sarcodec evaluate residual16 $(DATA)/test --step 1 --step 2 --step 4 --peers \
		-o docs/results/residual16_test.csv --overwrite
	$(BIN)/python benchmarks/plot_results.py --rows docs/results/residual16_test.csv

# The study of autoencoders: hours on two cores; an interrupted one continues. Patches as train-default makes them.
study: setup
	$(BIN)/sarcodec study run benchmarks/study.toml -o runs/study
	$(BIN)/sarcodec study report runs/study --train $(DATA)/train

# The default codec beside its peers; the part that has no clock in it, then the one that has.
codec-results: setup
	$(BIN)/python benchmarks/codec.py --images $(DATA)/test

residual64-results: setup
	$(BIN)/python benchmarks/residual64.py --images $(DATA)/test

codec-speed: setup
	$(BIN)/python benchmarks/codec.py --speed

bench: setup
	$(BIN)/python benchmarks/speed.py -o docs/results/speed.json

looking: setup
	$(BIN)/python benchmarks/looking.py -o docs/results/looking.json

seams: setup
	$(BIN)/python benchmarks/seams.py --model residual16 lapped64 --data $(DATA)/test -o docs/results/seams.json

# Damaged and hostile files, and kills: some minutes.
robustness: setup
	$(BIN)/python -W ignore benchmarks/robustness.py -o docs/results/robustness.md

clean:
	rm -rf $(VENV) demo build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
