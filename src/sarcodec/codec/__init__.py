"""Engine-free coding of windows: pixels to entries of a file and back, tile by tile.

It knows arrays, masks and the protocol of an engine (`engine`), but no engine, no raster and no PyTorch.
"""
