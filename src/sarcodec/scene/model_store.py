"""Models by name, path or identity, and the codecs made of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack

from sarcodec import errors
from sarcodec.codec import codec, engine
from sarcodec.container import archive
from sarcodec.files import integrity, modelfile
from sarcodec.lapped import engine as lapped_engine
from sarcodec.lapped import model as lapped_model
from sarcodec.nearlossless import engine as nearlossless_engine
from sarcodec.runtime import devices
from sarcodec.variable import engine as variable_engine
from sarcodec.variable import model as variable_model

if TYPE_CHECKING:
    from sarcodec.autoencoder import checkpoint

Model: TypeAlias = "lapped_model.LappedModel | variable_model.VariableModel | checkpoint.Checkpoint"

DEFAULT_MODEL = "lapped64"
MODEL_SUFFIX = ".ckpt"
LOADERS: Mapping[str, Callable[..., Model]] = {
    lapped_model.FORMAT: lapped_model.load,
    variable_model.FORMAT: variable_model.load,
}
"""By what the files of models say that they are; all others are autoencoders' checkpoints."""

IDENTITIES = integrity.SHIPPED
"""Of the models that are shipped: a file beside them that is damaged, or another, is not used under their names."""


class Running(TypedDict, total=False):
    """How a model is run; all may be left out.

    ``device`` is ``"cpu"`` or, where there is a GPU, ``"cuda"``. ``precision`` is ``"auto"``, ``"float32"`` or
    ``"bfloat16"``. ``restorer`` says whether the default codec, or a variable-rate autoencoder, restores with its
    network: without, images come sooner, and up to 0.5 dB less like the original. Both need PyTorch for other
    devices than the processor and for bfloat16, autoencoders of a fixed ratio for all they do; MissingExtra where it
    is not installed.
    """

    device: str
    precision: str
    restorer: bool


def shipped_models() -> dict[str, Path]:
    """Checkpoints that come with the package, by name."""
    folder = Path(str(resources.files("sarcodec.weights")))
    return {path.stem: path for path in sorted(folder.glob(f"*{MODEL_SUFFIX}"))}


def load_model(model: str | os.PathLike[str] | None = None, *, made: str = "") -> Model:
    """Load a model by path, or a shipped one by name; the default model when none is named.

    ``made`` is the identity of the model that made a file which is to be read: see :func:`checkpoint.load`.
    """
    name = DEFAULT_MODEL if model is None else os.fspath(model)
    path = Path(name)
    shipped = shipped_models()
    if not path.is_file() and name in shipped:
        path = shipped[name]
    if not path.is_file():
        raise errors.InputError(
            f"model: {name!r} is neither a checkpoint file nor a shipped model ({', '.join(shipped) or 'none'})"
        )
    found = LOADERS.get(modelfile.kind(path), _load_autoencoder)(path, made=made)
    if path == shipped.get(name) and found.identity != IDENTITIES.get(name):
        raise errors.FormatError(
            f"model {name}: the shipped file {path} is damaged: its identity is {found.identity}, not "
            f"{IDENTITIES.get(name)}; install sarcodec again"
        )
    return found


def _load_autoencoder(path: Path, *, made: str) -> checkpoint.Checkpoint:
    devices.require_torch()
    from sarcodec.autoencoder import checkpoint

    return checkpoint.load(path, made=made)


def open_codec(model: str | os.PathLike[str] | None = None, **running: Unpack[Running]) -> codec.Codec:
    """Return a codec for a model named as in :func:`load_model`, run as :class:`Running` says."""
    return codec_of(load_model(model), **running)


def codec_of(model: Model, **running: Unpack[Running]) -> codec.Codec:
    """Return a codec for a model that is loaded."""
    return codec.Codec(open_engine(model, **running))


def open_engine(model: Model, **running: Unpack[Running]) -> engine.Engine:
    """Return the engine of a model: the one place that knows which there are.

    A guaranteed error needs no model: :func:`bounded_engine`.
    """
    return ENGINES.get(type(model), _autoencoder)(model, running)


def _lapped(model: lapped_model.LappedModel, running: Running) -> engine.Engine:
    device, precision = running.get("device", "cpu"), running.get("precision", "auto")
    return lapped_engine.LappedEngine(model, device, precision, running.get("restorer", True))


def _variable(model: variable_model.VariableModel, running: Running) -> engine.Engine:
    device, precision = running.get("device", "cpu"), running.get("precision", "auto")
    return variable_engine.VariableEngine(model, device, precision, running.get("restorer", True))


def _autoencoder(model: checkpoint.Checkpoint, running: Running) -> engine.Engine:
    from sarcodec.autoencoder import engine as autoencoder_engine

    device, precision = running.get("device", "cpu"), running.get("precision", "auto")
    return autoencoder_engine.AutoencoderEngine(model, device, precision)


ENGINES: Mapping[type, Callable[[Any, Running], engine.Engine]] = {
    lapped_model.LappedModel: _lapped,
    variable_model.VariableModel: _variable,
}
"""Engines by what their models are; all others are autoencoders of a fixed ratio, which need PyTorch."""


def codec_for(
    reader: archive.Reader,
    model: str | os.PathLike[str] | codec.Codec | None = None,
    **running: Unpack[Running],
) -> codec.Codec:
    """Return the codec that made a file: the given model, else the shipped one of its identity.

    It is run as :class:`Running` says; one that is given as a codec is run as that was opened.

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
    found = codec_of(chosen, **running)
    found.check(reader)
    return found


def _shipped_with(identity: str) -> Model | None:
    """Return the shipped model of an identity, reading no other."""
    return next((load_model(name) for name, known in IDENTITIES.items() if known == identity), None)


def bounded_engine(max_error_db: float) -> nearlossless_engine.BoundedEngine:
    """Return the engine of a file's guaranteed error; FormatError where none has such."""
    try:
        return nearlossless_engine.BoundedEngine(max_error_db)
    except errors.InputError as cause:
        raise errors.FormatError(f"header: {errors.plain(cause)}") from cause
