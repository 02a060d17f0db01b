"""What any engine's symbols are coded with: tables, the integer network that picks one, the trellis that quantises.

It knows symbols, states and levels; no transform, no model file, no PyTorch.
"""
