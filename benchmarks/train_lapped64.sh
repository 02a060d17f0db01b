#!/usr/bin/env bash
# Trains the shipped model lapped64 from the real chips and three simulated scenes. An interrupted run continues.
set -euo pipefail
BIN=${BIN:-.venv/bin}
DATA=${DATA:-../shared/data}
RUN=${RUN:-runs/lapped}

mkdir -p sim
for seed in 101 102 103; do
    [ -f "sim/simulated_$seed.tif" ] || "$BIN/sarcodec" simulate "sim/simulated_$seed.tif" --size 1024 1024 --seed "$seed"
done
if [ ! -f "$RUN/run.json" ]; then
    "$BIN/sarcodec" train-lapped "$DATA/train" sim -o "$RUN" --seed 1 --prepare-only \
        --validation '*Frankfurt*' --validation '*Spain*' --validation '*Somalia*'
fi
"$BIN/sarcodec" train-lapped --resume "$RUN"
# Its restoring network in 8-bit integers, to be shipped beside it.
"$BIN/python" benchmarks/quantise_restorer.py --run "$RUN" -o "$RUN/model.onnx"
