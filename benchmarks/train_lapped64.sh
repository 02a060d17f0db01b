#!/usr/bin/env bash
# Trains the shipped model lapped64. An interrupted run continues.
set -euo pipefail
export BIN=${BIN:-.venv/bin}
RUN=${RUN:-runs/lapped}

bash benchmarks/train_for_all_rates.sh train-lapped "$RUN"
# Its restoring network in 8-bit integers, to be shipped beside it.
"$BIN/python" benchmarks/quantise_restorer.py --run "$RUN" -o "$RUN/model.onnx"
