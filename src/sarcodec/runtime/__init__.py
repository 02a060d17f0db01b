"""The machine: compiled loops, threads, devices, networks.

Nothing here knows what is computed. Only `devices` may load PyTorch.
"""
