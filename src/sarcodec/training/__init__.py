"""Training: patch sets, losses, the loop, linear starts, calibration, the default codec's tables and restorer.

Needs PyTorch; only `prepare` and what reads images for it know rasters. No `.sarc` file is written here.
"""
