"""Checkpoints: what goes in comes out, and nothing foreign or damaged gets in."""

import dataclasses
import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import places
import tiny
from sarcodec import errors
from sarcodec.autoencoder import architecture, checkpoint
from sarcodec.files import integrity, modelfile
from sarcodec.lapped import model as lapped_model
from sarcodec.scene import model_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tiny.write_checkpoint(tmp_path)


def rewrite(path: Path, **changes: Any) -> None:
    """Write the file again with another record; a value of None drops its key."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    record = json.loads(header["__metadata__"]["sarcodec"]) | changes
    record = {key: value for key, value in record.items() if value is not None}
    tensors = safetensors.torch.load(data)
    sealed = integrity.seal(
        {name: value.numpy() for name, value in tensors.items()}, record
    )  # forged well, so that it comes to what reads it
    path.write_bytes(safetensors.torch.save(tensors, {"sarcodec": json.dumps(sealed)}))


def test_round_trip(tmp_path: Path) -> None:
    made = dataclasses.replace(
        tiny.random_checkpoint(),
        tables={"steps": torch.tensor([0.5, 1.0])},
        training={"epoch": 3, "config": {"seed": 1}},
        metrics={"val": {"loss": 0.25}},
        state={"0.step": torch.tensor(7.0), "0.exp_avg": torch.randn(3, 2)},
        package_version="0.0.7",
    )
    identity = checkpoint.save(tmp_path / "a.ckpt", made)
    found = checkpoint.load(tmp_path / "a.ckpt")
    for name in ("config", "normalizer", "training", "metrics", "package_version"):
        assert getattr(found, name) == getattr(made, name)
    for name in ("weights", "tables", "state"):
        assert tiny.tensors_equal(getattr(found, name), getattr(made, name))
    assert found.identity == identity
    assert checkpoint.save(tmp_path / "b.ckpt", found) == identity  # the same content, the same bytes


def test_identity_is_of_the_bytes(path: Path) -> None:
    assert checkpoint.load(path).identity == hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def test_existing_file_is_kept(path: Path) -> None:
    with pytest.raises(errors.InputError, match="exists"):
        checkpoint.save(path, tiny.random_checkpoint())
    assert path.read_bytes() == tiny.calibrated_bytes()


def test_built_model_computes_the_same(path: Path) -> None:
    model = checkpoint.load(path).build()
    pixels = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(model(pixels)[0], tiny.trained()(pixels)[0], rtol=0, atol=1e-6)
    assert not model.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())


def test_models_of_one_checkpoint_share_nothing(path: Path) -> None:
    loaded = checkpoint.load(path)
    first = loaded.build()
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
    assert tiny.tensors_equal(loaded.build().state_dict(), tiny.trained().state_dict())


def test_half_precision_weights_are_widened() -> None:
    made = tiny.random_checkpoint()
    halves = {n: v.bfloat16() if v.is_floating_point() else v for n, v in made.weights.items()}
    model = dataclasses.replace(made, weights=halves).build()
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", ["pickle", "empty", "text", "zip", "folder", "missing"])
def test_foreign_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "foreign.ckpt"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
    elif kind == "zip":  # what torch.save writes
        torch.save({"weights": torch.zeros(3)}, path)
    elif kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(b"" if kind == "empty" else b"not a checkpoint at all")
    with pytest.raises(errors.FormatError, match=r"foreign\.ckpt"):
        checkpoint.load(path)


def test_safetensors_of_others(tmp_path: Path) -> None:
    for metadata in (None, {"format": "pt"}, {"sarcodec": "[]"}, {"sarcodec": "7"}, {"sarcodec": "{"}):
        path = tmp_path / "other.ckpt"
        path.write_bytes(safetensors.torch.save({"w": torch.zeros(2)}, metadata))
        with pytest.raises(errors.FormatError, match=r"other\.ckpt"):
            checkpoint.load(path)


def test_truncated(path: Path) -> None:
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    for length in (1, 7, 8, 100, header - 1, header, header + 5, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(errors.FormatError, match="damaged"):
            checkpoint.load(path)


def test_altered_header(path: Path) -> None:
    """A flipped bit is a FormatError, or a file of another identity that no .sarc file asks for; never a crash."""
    data = path.read_bytes()
    refused = 0
    end = 8 + int.from_bytes(data[:8], "little")
    for place in [*range(16), *range(16, end, 29)]:
        altered = bytearray(data)
        altered[place] ^= 1 << place % 7
        path.write_bytes(altered)
        try:
            found = checkpoint.load(path)
            found.build()
            found.coder()
        except errors.SarcodecError:
            refused += 1
        else:
            assert found.identity != modelfile.identify(data)
    assert refused > 50


@pytest.mark.parametrize("name", ["format", "version", "config", "normalizer", "training", "metrics"])
def test_incomplete_record(path: Path, name: str) -> None:
    rewrite(path, **{name: None})
    with pytest.raises(errors.FormatError, match=name):
        checkpoint.load(path)


def test_newer_version(path: Path) -> None:
    rewrite(path, version=2)
    with pytest.raises(errors.FormatError, match=r"version 2.*newer sarcodec"):
        checkpoint.load(path)


def test_unknown_architecture(path: Path) -> None:
    rewrite(path, config=tiny.CONFIG.to_dict() | {"arch": "later"})
    with pytest.raises(errors.InputError, match=r"'later'.*plain"):
        checkpoint.load(path).build()


@pytest.mark.parametrize(
    "config",
    [
        architecture.ModelConfig(base_channels=16, latent_channels=4),
        architecture.ModelConfig(stages=3, base_channels=8),
    ],
)
def test_weights_of_another_architecture(config: architecture.ModelConfig) -> None:
    with pytest.raises(errors.FormatError, match="weights do not fit its architecture 'plain'"):
        dataclasses.replace(tiny.random_checkpoint(), config=config).build()


def test_a_huge_configuration_takes_no_memory() -> None:
    """The weights of this one would take 100 GB; they are missed before they are allocated."""
    huge = architecture.ModelConfig(base_channels=1024, stages=6, latent_channels=1024)
    with pytest.raises(errors.FormatError, match="do not fit"):
        dataclasses.replace(tiny.random_checkpoint(), config=huge).build()


def test_not_calibrated() -> None:
    with pytest.raises(errors.FormatError, match="sarcodec calibrate"):
        tiny.random_checkpoint().coder()


def test_tables_of_another_architecture(path: Path) -> None:
    wider = dataclasses.replace(tiny.CONFIG, latent_channels=5)
    with pytest.raises(errors.FormatError, match="4 latent channels"):
        dataclasses.replace(checkpoint.load(path), config=wider).coder()


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("kind", ["autoencoder", "lapped"])
def test_a_flipped_bit_anywhere_is_found(tmp_path: Path, kind: str) -> None:
    """In weights, tables, record or padding: never a model that differs from the one that was saved."""
    if kind == "lapped":
        data, load = tiny.lapped_bytes(), lapped_model.load
    else:
        data, load = tiny.calibrated_bytes(), checkpoint.load
    random, path = np.random.default_rng(5), tmp_path / "model.ckpt"
    begin = 8 + int.from_bytes(data[:8], "little")
    for bit in [*random.integers(0, 8 * len(data), 60), *random.integers(8 * begin, 8 * len(data), 60)]:
        path.write_bytes(flipped(data, int(bit)))
        with pytest.raises(errors.FormatError):
            load(path)


def test_models_from_before_the_digest_load_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """But without one to read what they made, for their identity stands in that."""
    for version, load in (("v1", checkpoint.load), ("v2", lapped_model.load)):
        path = places.GOLDEN / version / "tiny.ckpt"
        identity = load(path).identity
        (record,) = caplog.records
        assert f"model {path}: was saved before models had digests" in record.getMessage()
        assert "\n" not in record.getMessage()
        caplog.clear()
        assert load(path, made=identity).identity == identity and caplog.records == []


def unsealed(data: bytes, name: str, by: float) -> bytes:
    """A model file without a digest, one of its tensors changed."""
    tensors = safetensors.torch.load(data)
    tensors[name] = tensors[name] + by
    record = json.loads(modelfile.metadata(data)["sarcodec"])
    record.pop("digest", None)
    return safetensors.torch.save(tensors, {"sarcodec": json.dumps(record)})


@pytest.mark.parametrize(("name", "tensor"), [("residual16", "entropy.steps"), ("lapped64", None)])
def test_copies_of_shipped_models_are_held_to_their_identities(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, tensor: str | None
) -> None:
    """By whatever path they are loaded: whole ones load, a weight that changed is told though there is no digest."""
    data = model_store.shipped_models()[name].read_bytes()
    path = tmp_path / "copy.ckpt"
    path.write_bytes(data)
    assert model_store.load_model(path).identity == model_store.IDENTITIES[name] and caplog.records == []
    tensor = tensor or next(key for key, value in safetensors.torch.load(data).items() if value.is_floating_point())
    path.write_bytes(unsealed(data, tensor, 1.0))
    with pytest.raises(errors.FormatError, match=f"copy of {name} that was damaged or changed, its identity is"):
        model_store.load_model(path)


def test_no_flipped_bit_takes_the_digest_away(path: Path) -> None:
    """An entry whose name changed is no file from before digests, whatever happened to its weights."""
    data = path.read_bytes()
    at = data.index(b'\\"digest\\"') + 2
    for bit in range(8 * len("digest")):
        path.write_bytes(flipped(data[:-8] + bytes(8), 8 * at + bit))
        with pytest.raises(errors.FormatError):
            checkpoint.load(path)


def test_shipped_models_are_those_that_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert {name: model_store.load_model(name).identity for name in model_store.shipped_models()} == (
        model_store.IDENTITIES
    )
    path = tmp_path / "lapped64.ckpt"
    path.write_bytes(tiny.lapped_bytes())
    monkeypatch.setattr(model_store, "shipped_models", lambda: {"lapped64": path})
    with pytest.raises(errors.FormatError, match=r"lapped64: the shipped file .* is damaged.*install"):
        model_store.load_model()
