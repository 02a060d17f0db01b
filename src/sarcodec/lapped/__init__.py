"""The default engine: lapped transform, contexts, coefficients, restoring network, and the scale of quality.

Training it is in `training`. It knows arrays, and no other engine; only `pytorch` may load PyTorch.
"""
