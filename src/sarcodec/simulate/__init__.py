"""Scenes from nothing: ground, backscatter, speckle, from a seed.

Arrays only; no file is read or written.
"""
