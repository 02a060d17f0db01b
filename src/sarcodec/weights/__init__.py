"""Weights that ship with the package; see ``MODEL_CARD.md`` beside them."""
