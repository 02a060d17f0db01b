"""Autoencoders: configuration, blocks, variants, and the one table of what can be built."""

from sarcodec.models.autoencoder import Autoencoder
from sarcodec.models.config import ModelConfig
from sarcodec.models.variants import MODELS, build

__all__ = ["MODELS", "Autoencoder", "ModelConfig", "build"]
