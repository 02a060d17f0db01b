"""Pieces of HTML pages and charts, shared by report and study.

Strings and numbers in, strings out; it knows no file, no codec and no study.
"""
