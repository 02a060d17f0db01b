"""Measuring codecs on images by real files: round trips, bounds of linear coding, rates at equal quality.

Figures come from `metrics`, peers from `baselines`; nothing is drawn here.
"""
