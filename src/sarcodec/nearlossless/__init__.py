"""The engine of guaranteed errors: prediction and adaptive coding in the loop, without a model.

All integers, no PyTorch; it knows no other engine.
"""
