"""Writing files whole or not at all, places that are URLs, and what model files have in common.

What is in a file is its owner's matter: nothing here knows pixels, models or the `.sarc` file.
"""
