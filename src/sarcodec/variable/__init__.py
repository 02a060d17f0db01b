"""The variable-rate autoencoder: overlapping linear transform, latents' contexts and coder, decoder network.

Training it is in `training`. It knows arrays, and no other engine and no PyTorch.
"""
