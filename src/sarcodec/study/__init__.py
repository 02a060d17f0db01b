"""The comparative study: a matrix of models trained under one budget, measured in bytes, and reported."""
