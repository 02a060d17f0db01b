"""Whole rasters and arrays, files in and out: the functions that most people call.

The only place that knows all engines. It asks `codec` to code and `raster` to read; no command line, no report.
"""
