"""The `.sarc` file: archive, header, validity masks, product, packing.

What symbols mean is the engines' matter, and where pixels come from the rasters'. `docs/format.md` specifies it.
"""
