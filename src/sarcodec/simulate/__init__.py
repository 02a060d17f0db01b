"""Scenes from nothing: ground, backscatter, speckle, from a seed.

Arrays only; no file is read or written.
"""

from sarcodec.simulate.scenes import Scene, scene

__all__ = ["Scene", "scene"]
