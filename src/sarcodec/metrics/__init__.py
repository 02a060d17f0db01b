"""Quality figures of a restored image beside its original, each by its formula.

Arrays in dB in, numbers out. A new figure is a function here and a line in `summary`; no files, no codec.
"""
