"""The network that engines restore decoded images with: what quantisation took away, foretold from what is left.

Of ``network`` engines are made; ``pytorch`` trains it, and runs it on other devices than the processor.
"""
