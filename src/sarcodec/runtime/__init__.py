"""The machine: compiled loops, threads, devices.

Nothing here knows what is computed. Only `devices` may load PyTorch.
"""
