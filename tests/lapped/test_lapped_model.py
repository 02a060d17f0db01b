"""The lapped codec's model file: what comes back, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import tiny
from sarcodec import errors
from sarcodec.files import integrity, modelfile
from sarcodec.lapped import model as lapped_model
from sarcodec.scene import model_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "tiny.ckpt"
    target.write_bytes(tiny.lapped_bytes())
    return target


def rewritten(path: Path, tensors: dict[str, torch.Tensor] | None = None, **changes: Any) -> Path:
    """Write the file anew with other tensors (None takes one away) and another record."""
    data = path.read_bytes()
    record = json.loads(modelfile.metadata(data)["sarcodec"]) | changes
    kept = {k: v for k, v in (safetensors.torch.load(data) | (tensors or {})).items() if v is not None}
    sealed = integrity.seal(
        {name: value.numpy() for name, value in kept.items()}, record
    )  # forged well, so that it comes to what reads it
    path.write_bytes(safetensors.torch.save(kept, {"sarcodec": json.dumps(sealed)}))
    return path


def test_round_trip(path: Path, tmp_path: Path) -> None:
    model = lapped_model.load(path)
    assert model.identity == modelfile.identify(tiny.lapped_bytes())
    assert (model.rate_weight, model.training) == (0.35, {})
    identity = lapped_model.save(tmp_path / "again.ckpt", model)
    again = lapped_model.load(tmp_path / "again.ckpt")
    assert again.identity == identity == model.identity
    assert (tmp_path / "again.ckpt").read_bytes() == path.read_bytes()
    for name, array in model.coder.to_arrays().items():
        np.testing.assert_array_equal(array, again.coder.to_arrays()[name])
    assert model.restorer.config == again.restorer.config
    for name, array in model.restorer.weights.items():
        np.testing.assert_array_equal(array, again.restorer.weights[name])


def test_training_record_and_identity(path: Path, tmp_path: Path) -> None:
    model = tiny.lapped()
    noted = lapped_model.LappedModel(model.coder, model.restorer, 0.2, {"seed": 3, "last": {"loss": 0.5}}, 1824)
    identity = lapped_model.save(tmp_path / "noted.ckpt", noted)
    again = lapped_model.load(tmp_path / "noted.ckpt")
    assert (again.rate_weight, again.training) == (0.2, {"seed": 3, "last": {"loss": 0.5}})
    assert again.restored_below == 1824
    assert again.identity == identity != model.identity


def test_overwrite(path: Path) -> None:
    with pytest.raises(errors.InputError, match="exists"):
        lapped_model.save(path, tiny.lapped())
    lapped_model.save(path, tiny.lapped(), overwrite=True)


def test_kind(path: Path, tmp_path: Path) -> None:
    other = tiny.write_checkpoint(tmp_path.parent)
    assert modelfile.kind(path) == lapped_model.FORMAT
    assert modelfile.kind(other) != lapped_model.FORMAT
    with pytest.raises(errors.FormatError, match="version"):
        lapped_model.load(other)
    path.write_bytes(b"PK nothing of the kind")
    with pytest.raises(errors.FormatError):
        modelfile.kind(path)


def test_opens_by_path(path: Path) -> None:
    assert model_store.open_codec(path).engine.identity == modelfile.identify(tiny.lapped_bytes())


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(errors.FormatError, match=r"nowhere\.ckpt"):
        lapped_model.load(tmp_path / "nowhere.ckpt")


@pytest.mark.parametrize("keep", [0, 5, 200, 0.3, 0.999])
def test_truncated(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(keep * len(data))])
    with pytest.raises(errors.FormatError):
        lapped_model.load(path)


def test_changed_bytes_never_crash(path: Path) -> None:
    data, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(data)
        damaged[int(rng.integers(3000))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            model = lapped_model.load(path)
        except errors.FormatError:
            continue
        assert model.identity != modelfile.identify(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "newer"),
        ({"format": "something else"}, "something else"),
        ({"restorer": {"channels": 8, "layers": 8, "depth": 1}}, "depth"),
        ({"restorer": {"channels": 8, "layers": 3}}, "layers"),
        ({"restorer": {"channels": 16, "layers": 8}}, "damaged"),
        ({"restorer": {"channels": "8", "layers": 8}}, "restorer"),
        ({"restorer": None}, "restorer"),
        ({"rate_weight": "much"}, "damaged"),
        ({"training": 5}, "damaged"),
    ],
)
def test_records_that_are_not_ours(path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.FormatError, match=message):
        lapped_model.load(rewritten(path, **changes))


@pytest.mark.parametrize(
    "tensors",
    [
        {"coder.frequencies": None},
        {"coder.size": torch.ones(3, dtype=torch.int32)},
        {"coder.network.weight.0": torch.full((32, 8), 500, dtype=torch.int32)},
        {"coder.centroids": torch.zeros(2, 72, 5)},
        {"restorer.layers.0.weight": None},
        {"restorer.layers.0.weight": torch.zeros(8, 17, 5, 5)},
        {"restorer.extra": torch.zeros(1)},
    ],
)
def test_tensors_that_do_not_fit(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with pytest.raises(errors.FormatError):
        lapped_model.load(rewritten(path, tensors))
