"""The comparative study: a matrix of models trained under one budget, measured in bytes, and reported.

It asks `training` to train and `evaluation` to measure; what a page is made of is in `pages`.
"""
