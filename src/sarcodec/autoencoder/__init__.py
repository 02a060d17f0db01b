"""The engine of convolutional autoencoders: networks, checkpoints, inference, coding of latents.

Training them is in `training`. It knows arrays, and no other engine.
"""
