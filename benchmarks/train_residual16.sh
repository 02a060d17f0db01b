#!/usr/bin/env bash
# Trains the shipped checkpoint residual16 from the real chips and three simulated scenes. An interrupted run continues.
# The study's cell residual-c16-base_channels=32-s2 is the same training.
set -euo pipefail
BIN=${BIN:-.venv/bin}
DATA=${DATA:-../shared/data}
RUN=${RUN:-runs/residual16}

mkdir -p sim
for seed in 101 102 103; do
    [ -f "sim/simulated_$seed.tif" ] || "$BIN/sarcodec" simulate "sim/simulated_$seed.tif" --size 1024 1024 --seed "$seed"
done
"$BIN/sarcodec" prepare "$DATA/train" sim -o patches \
    --validation '*Frankfurt*' --validation '*Spain*' --validation '*Somalia*'
if [ -f "$RUN/run.json" ]; then
    "$BIN/sarcodec" train --resume "$RUN"
else
    "$BIN/sarcodec" train patches -o "$RUN" --arch residual --base-channels 32 --latent-channels 16 --loss mse \
        --epochs 18 --batch-size 8 --crop 128 --learning-rate 1e-3 --warmup-steps 100 --clip-norm 0.02 --seed 2
fi
