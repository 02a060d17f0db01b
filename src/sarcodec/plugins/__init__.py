"""Ways into other programs, loaded by them alone: xarray, Dask.

What they ask for is done below, in `scene`; nothing else in the package knows these programs.
"""
