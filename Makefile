# Every target makes its own virtual environment in .venv; nothing but Python 3.11+ is needed.
# PYTHON=/path/to/python3 chooses the Python that .venv is made from.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made

# PyTorch is imported hundreds of times by the tests: once compiled, it is kept compiled.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help venv demo test test-slow lint format train-smoke build clean

help:
	@echo "make demo         vocode a sound, clean a noisy one, forecast sunspots, into demo/"
	@echo "make test         the tests (under 5 minutes)"
	@echo "make test-slow    the tests that take longer"
	@echo "make train-smoke  every recipe for a few steps on synthetic data"
	@echo "make lint         ruff: rules and format; mypy: types"
	@echo "make format       let ruff mend what it can"
	@echo "make build        wheel and source archive, into dist/"
	@echo "make clean        remove what the targets made, .venv too"

venv: $(STAMP)

$(STAMP): pyproject.toml tools/make_venv.sh
	@tools/make_venv.sh
	@touch $@

demo: $(STAMP)
	@$(BIN)/python tools/make_demo_audio.py -o demo/original.wav --noisy demo/noisy.wav
	@$(BIN)/wavediff vocode demo/original.wav -o demo/vocoded.wav --overwrite
	@$(BIN)/python tools/plot_spectrograms.py demo/original.wav demo/vocoded.wav -o demo/spectrograms.png
	@$(BIN)/wavediff enhance demo/noisy.wav -o demo/enhanced.wav --report demo/report.html --overwrite
	@$(BIN)/python tools/make_sunspots.py -o demo/sunspots.csv
	@$(BIN)/wavediff forecast demo/sunspots.csv --horizon 22 -o demo/forecast.csv \
		--plot demo/forecast.png --overwrite
	@echo "made by the project:      demo/original.wav"
	@echo "its mel, vocoded:         demo/vocoded.wav"
	@echo "both, above one another:  demo/spectrograms.png"
	@echo "the same in noise:        demo/noisy.wav"
	@echo "without it:               demo/enhanced.wav"
	@echo "both, to look at and play: demo/report.html"
	@echo "sunspots of each year:    demo/sunspots.csv"
	@echo "two cycles to come:       demo/forecast.csv, drawn in demo/forecast.png"

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

train-smoke: $(STAMP)
	$(BIN)/python tools/train_smoke.py

build: $(STAMP)
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) build dist demo .mypy_cache .pytest_cache .ruff_cache
