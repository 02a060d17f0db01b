"""Speckle that coding lost: recorded in few bytes, rendered over a decoded image.

Arrays in dB; no files, no codec. Simulated speckle of scenes is in `simulate`.
"""
