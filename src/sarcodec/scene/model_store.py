"""Models by name, path or identity, and the codecs made of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path

from sarcodec import errors
from sarcodec.autoencoder import checkpoint
from sarcodec.autoencoder import engine as autoencoder_engine
from sarcodec.codec import codec, engine
from sarcodec.container import archive
from sarcodec.files import integrity
from sarcodec.lapped import engine as lapped_engine
from sarcodec.lapped import model as lapped_model
from sarcodec.nearlossless import engine as nearlossless_engine

DEFAULT_MODEL = "lapped64"
MODEL_SUFFIX = ".ckpt"
IDENTITIES = integrity.SHIPPED
"""Of the models that are shipped: a file beside them that is damaged, or another, is not used under their names."""

ENGINES: Mapping[type, Callable[..., engine.Engine]] = {
    checkpoint.Checkpoint: autoencoder_engine.AutoencoderEngine,
    lapped_model.LappedModel: lapped_engine.LappedEngine,
}
"""Engines by what their models are; a guaranteed error needs no model: :func:`bounded_engine`."""


def shipped_models() -> dict[str, Path]:
    """Checkpoints that come with the package, by name."""
    folder = Path(str(resources.files("sarcodec.weights")))
    return {path.stem: path for path in sorted(folder.glob(f"*{MODEL_SUFFIX}"))}


def load_model(
    model: str | os.PathLike[str] | None = None, *, made: str = ""
) -> checkpoint.Checkpoint | lapped_model.LappedModel:
    """Load a model by path, or a shipped one by name; the default model when none is named.

    ``made`` is the identity of the model that made a file which is to be read: see :func:`checkpoint.load`.
    """
    name = DEFAULT_MODEL if model is None else os.fspath(model)
    path = Path(name)
    shipped = shipped_models()
    if not path.exists() and name in shipped:
        path = shipped[name]
    if not path.exists():
        raise errors.InputError(
            f"model: {name!r} is neither a checkpoint file nor a shipped model ({', '.join(shipped) or 'none'})"
        )
    found = lapped_model.load(path, made=made) if lapped_model.is_lapped(path) else checkpoint.load(path, made=made)
    if path == shipped.get(name) and found.identity != IDENTITIES.get(name):
        raise errors.FormatError(
            f"model {name}: the shipped file {path} is damaged: its identity is {found.identity}, not "
            f"{IDENTITIES.get(name)}; install sarcodec again"
        )
    return found


def open_codec(
    model: str | os.PathLike[str] | None = None, *, device: str = "cpu", precision: str = "auto"
) -> codec.Codec:
    """Return a codec for a model named as in :func:`load_model`."""
    return codec_of(load_model(model), device=device, precision=precision)


def codec_of(
    model: checkpoint.Checkpoint | lapped_model.LappedModel, *, device: str = "cpu", precision: str = "auto"
) -> codec.Codec:
    """Return a codec for a model that is loaded."""
    return codec.Codec(open_engine(model, device=device, precision=precision))


def open_engine(
    model: checkpoint.Checkpoint | lapped_model.LappedModel, *, device: str = "cpu", precision: str = "auto"
) -> engine.Engine:
    """Return the engine of a model: the one place that knows which there are, with :func:`bounded_engine`."""
    made: engine.Engine = ENGINES[type(model)](model, device, precision)
    return made


def codec_for(
    reader: archive.Reader,
    model: str | os.PathLike[str] | codec.Codec | None = None,
    *,
    device: str = "cpu",
    precision: str = "auto",
) -> codec.Codec:
    """Return the codec that made a file: the given model, else the shipped one of its identity.

    Raises
    ------
    ModelMissing
        When the model that made the file is not installed, or the given one did not make it.
    """
    header = reader.header
    if header.architecture == nearlossless_engine.BoundedEngine.architecture and header.max_error_db is not None:
        found = codec.Codec(bounded_engine(header.max_error_db))
        found.check(reader)
        return found
    if isinstance(model, codec.Codec):
        model.check(reader)
        return model
    if model is not None:
        chosen = load_model(model, made=header.model)
    elif (shipped := _shipped_with(header.model)) is not None:
        chosen = shipped
    else:
        raise errors.ModelMissing(
            f"{reader.name}: was made by model {errors.plain(reader.header.model)} "
            f"({errors.plain(reader.header.architecture)}), which is not installed here; "
            "pass its checkpoint (--model) or install the version of sarcodec that ships it"
        )
    found = codec_of(chosen, device=device, precision=precision)
    found.check(reader)
    return found


def _shipped_with(identity: str) -> checkpoint.Checkpoint | lapped_model.LappedModel | None:
    """Return the shipped model of an identity, reading no more of them than it takes."""
    return next((m for m in map(load_model, shipped_models().values()) if m.identity == identity), None)


def bounded_engine(max_error_db: float) -> nearlossless_engine.BoundedEngine:
    """Return the engine of a file's guaranteed error; FormatError where none has such."""
    try:
        return nearlossless_engine.BoundedEngine(max_error_db)
    except errors.InputError as cause:
        raise errors.FormatError(f"header: {errors.plain(cause)}") from cause
