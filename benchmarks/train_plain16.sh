#!/usr/bin/env bash
# Trains the shipped checkpoint plain16 from the real chips and three simulated scenes. An interrupted run continues.
set -euo pipefail
BIN=${BIN:-.venv/bin}
DATA=${DATA:-../shared/data}

mkdir -p sim
for seed in 101 102 103; do
    [ -f "sim/simulated_$seed.tif" ] || "$BIN/sarcodec" simulate "sim/simulated_$seed.tif" --size 1024 1024 --seed "$seed"
done
"$BIN/sarcodec" prepare "$DATA/train" sim -o patches \
    --validation '*Frankfurt*' --validation '*Spain*' --validation '*Somalia*'
if [ -f runs/plain16/run.json ]; then
    "$BIN/sarcodec" train --resume runs/plain16
else
    "$BIN/sarcodec" train patches -o runs/plain16 --arch plain --latent-channels 16 --loss mse-heavy \
        --epochs 100 --batch-size 4 --learning-rate 5e-4 --seed 1
fi
