"""A viewer of files in the browser: tiles, values and a page over HTTP, from this machine.

What is shown, how it is cut into tiles, and what a request may ask for live here; options belong to the command line.
"""
