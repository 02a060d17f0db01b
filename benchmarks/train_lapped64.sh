#!/usr/bin/env bash
# Trains the shipped model lapped64. An interrupted run continues.
set -euo pipefail
bash benchmarks/train_for_all_rates.sh train-lapped "${RUN:-runs/lapped}"
