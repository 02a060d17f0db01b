#!/usr/bin/env bash
# Trains the shipped model lapped64. An interrupted run continues.
set -euo pipefail
export BIN=${BIN:-.venv/bin}
RUN=${RUN:-runs/lapped}

bash benchmarks/train_for_all_rates.sh train-lapped "$RUN"
