#!/usr/bin/env bash
# Trains a model that codes at all rates from the real chips and three simulated scenes: COMMAND RUN. An interrupted run
# continues.
set -euo pipefail
BIN=${BIN:-.venv/bin}
DATA=${DATA:-../shared/data}
COMMAND=$1
RUN=$2

mkdir -p sim
for seed in 101 102 103; do
    [ -f "sim/simulated_$seed.tif" ] || "$BIN/sarcodec" simulate "sim/simulated_$seed.tif" --size 1024 1024 --seed "$seed"
done
if [ ! -f "$RUN/run.json" ]; then
    "$BIN/sarcodec" "$COMMAND" "$DATA/train" sim -o "$RUN" --seed 1 --prepare-only \
        --validation '*Frankfurt*' --validation '*Spain*' --validation '*Somalia*'
fi
"$BIN/sarcodec" "$COMMAND" --resume "$RUN"
