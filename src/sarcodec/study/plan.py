"""What a study is made of: read from a TOML file, unknown keys refused.

::

    [data]
    patches = "patches"                    # a patch set; relative to the file
    images = ["../shared/data/test"]       # never trained on

    [matrix]
    arch = ["plain", "residual", "cbam"]
    latent_channels = [32, 16, 8]
    seeds = [1]
    more_seeds = { 16 = [2] }              # further seeds for some latent channels
    extra = [{ arch = "plain", latent_channels = 16, stages = 5 }]   # may say start, optimizer, epochs, seeds

    [model]                                # any setting of a model, unless extra says other
    base_channels = 32

    [training]                             # any setting of a training; the same for every cell
    epochs = 60

    [evaluation]
    steps = [1, 2, 4, 8]                   # multipliers of the quantisation steps
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sarcodec import errors
from sarcodec.autoencoder import architecture
from sarcodec.training import losses, train_config

SECTIONS = {
    "data": {"patches", "images"},
    "matrix": {"arch", "latent_channels", "seeds", "more_seeds", "extra"},
    "model": set(architecture.ModelConfig().to_dict()) - {"arch", "latent_channels"},
    "training": set(train_config.TrainConfig().to_dict()),
    "evaluation": {"steps"},
}
OF_TRAINING = ("start", "optimizer", "epochs")
"""Settings of a training that an extra model may have of its own."""


@dataclass(frozen=True)
class Cell:
    """One model of the matrix, how it is trained, and what of that is its own."""

    model: architecture.ModelConfig
    training: train_config.TrainConfig
    own: tuple[str, ...] = ()

    @property
    def variant(self) -> str:
        """Name of the model without its seed, for example ``residual-c16``, and what is its own in its training."""
        changed = {k: v for k, v in self.model.to_dict().items() if v != getattr(architecture.ModelConfig(), k)}
        options = [f"{k}={v}" for k, v in changed.items() if k not in ("arch", "latent_channels")]
        return "-".join([self.model.arch, f"c{self.model.latent_channels}", *options, *self.own])

    @property
    def name(self) -> str:
        """Name of the cell and of its folder."""
        return f"{self.variant}-s{self.training.seed}"


@dataclass(frozen=True)
class Plan:
    """A study: its data, its cells in the order they are trained, and the quantisation steps to measure at."""

    patches: Path
    images: tuple[Path, ...]
    cells: tuple[Cell, ...]
    steps: tuple[int, ...]


def read(path: Path) -> Plan:
    """Read a study from a TOML file; FormatError when it is none, InputError for values that cannot be."""
    try:
        record = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise errors.FormatError(f"study {path}: {cause.strerror}") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise errors.FormatError(f"study {path}: not TOML ({errors.plain(cause)})") from cause
    _check_keys(path, record)
    matrix = record.get("matrix", {})
    training = _training(record.get("training", {}))
    cells = [
        _cell(model, replace(training, seed=seed))
        for model in _models(matrix, record.get("model", {}))
        for seed in _seeds(matrix, model)
    ]
    if not cells or len({cell.name for cell in cells}) < len(cells):
        raise errors.InputError(f"study {path}: its matrix has {len(cells)} cells; there must be some, no two alike")
    data = record.get("data", {})
    if "patches" not in data or not data.get("images"):
        raise errors.InputError(f"study {path}: [data] must name patches and at least one of images")
    return Plan(
        patches=path.parent / data["patches"],
        images=tuple(path.parent / image for image in data["images"]),
        cells=tuple(cells),
        steps=tuple(record.get("evaluation", {}).get("steps", (1, 2, 4, 8))),
    )


def _check_keys(path: Path, record: Mapping[str, Any]) -> None:
    for section, content in record.items():
        allowed = SECTIONS.get(section)
        if allowed is None or not isinstance(content, dict):
            raise errors.InputError(f"study {path}: got section {section!r}; allowed are {', '.join(SECTIONS)}")
        if unknown := set(content) - allowed:
            raise errors.InputError(
                f"study {path}: [{section}] has {', '.join(sorted(unknown))}; "
                f"allowed are {', '.join(sorted(allowed))}"
            )


def _training(record: Mapping[str, Any]) -> train_config.TrainConfig:
    settings = train_config.TrainConfig().to_dict() | dict(record)
    loss = settings["loss"]
    if isinstance(loss, str):
        if loss not in losses.PRESETS:
            raise errors.InputError(f"loss: got {loss!r}; pass one of {', '.join(losses.PRESETS)}, or weights")
        settings["loss"] = train_config.TrainConfig(loss=losses.PRESETS[loss]).to_dict()["loss"]
    return train_config.TrainConfig.from_dict(settings)


def _models(matrix: Mapping[str, Any], shared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the configurations of the matrix; channels vary slowest: what is compared is trained together."""
    crossed = [
        {"arch": arch, "latent_channels": channels}
        for channels in matrix.get("latent_channels", [])
        for arch in matrix.get("arch", [])
    ]
    return [{**shared, "latent_channels": 16, **model} for model in (*crossed, *matrix.get("extra", []))]


def _cell(model: Mapping[str, Any], training: train_config.TrainConfig) -> Cell:
    other = {name: model[name] for name in OF_TRAINING if name in model}
    settings = {name: value for name, value in model.items() if name not in (*OF_TRAINING, "seeds")}
    config = architecture.ModelConfig.from_dict(architecture.ModelConfig().to_dict() | settings)
    return Cell(config, replace(training, **other), tuple(f"{name}={value}" for name, value in other.items()))


def _seeds(matrix: Mapping[str, Any], model: Mapping[str, Any]) -> list[int]:
    seeds = [*matrix.get("seeds", [0]), *matrix.get("more_seeds", {}).get(str(model["latent_channels"]), [])]
    return list(model.get("seeds", seeds))
