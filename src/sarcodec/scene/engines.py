"""Which engine codes with which model."""

from __future__ import annotations

from sarcodec.autoencoder import checkpoint
from sarcodec.autoencoder import engine as autoencoder_engine
from sarcodec.lapped import engine as lapped_engine
from sarcodec.lapped import model as lapped_model


def open_engine(
    model: checkpoint.Checkpoint | lapped_model.LappedModel, *, device: str = "cpu", precision: str = "auto"
) -> autoencoder_engine.AutoencoderEngine | lapped_engine.LappedEngine:
    """Return the engine of a model."""
    if isinstance(model, lapped_model.LappedModel):
        return lapped_engine.LappedEngine(model, device, precision)
    return autoencoder_engine.AutoencoderEngine(model, device, precision)
