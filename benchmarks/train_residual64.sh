#!/usr/bin/env bash
# Trains the shipped model residual64. An interrupted run continues.
set -euo pipefail
bash benchmarks/train_for_all_rates.sh train-variable "${RUN:-runs/residual64}"
