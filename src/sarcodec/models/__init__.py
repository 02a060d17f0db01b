"""Autoencoders: configuration, blocks, variants, and the one table of what can be built."""

from sarcodec.models.autoencoder import Autoencoder, Level
from sarcodec.models.config import ModelConfig
from sarcodec.models.variants import FIRST_SHORTCUT, MODELS, build

__all__ = ["FIRST_SHORTCUT", "MODELS", "Autoencoder", "Level", "ModelConfig", "build"]
