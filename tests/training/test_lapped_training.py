"""Training the lapped codec: a tiny run, interrupted and not."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from runs import Interrupted, stopping
from sarcodec import errors
from sarcodec.lapped import model as lapped_model
from sarcodec.training import coefficient_fit, lapped_codec, prepared_run, restoring, resumable
from sarcodec.training.lapped_codec import LappedConfig
from sarcodec.training.prepared_run import Image

CONFIG = LappedConfig(
    rounds=1,
    fit_steps=2,
    draws=1,
    pairs=2,
    channels=4,
    layers=2,
    restorer_steps=6,
    batch=2,
    crop=32,
    save_minutes=0.0,
)


def images() -> list[Image]:
    shapes = [(64, 96), (100, 64), (66, 70)]
    return [Image(f"image {i}", tiny.simulated_db(shape, i), i == 2) for i, shape in enumerate(shapes)]


def started(folder: Path, config: LappedConfig = CONFIG) -> Path:
    lapped_codec.start(folder, images(), config)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = started(tmp_path_factory.mktemp("runs") / "whole")
    list(lapped_codec.resume(folder))
    return folder


def test_a_run(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    expected = {"images.npz", "run.json", "coder.safetensors", "pairs.npz", "state.safetensors", "history.jsonl"}
    assert names == expected | {"model.ckpt"}
    model = lapped_model.load(finished / "model.ckpt")
    assert model.training["settings"]["restorer_steps"] == 6
    assert model.rate_weight == coefficient_fit.RATE_WEIGHT
    (line,) = (finished / "history.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record == model.training["last"]
    assert {"step", "loss", "bpp@2.83", "rmse@2.83", "gain@2.83"} <= set(record)
    rates = [record[f"bpp@{0.015625 * 2 ** (step / 256):.3g}"] for step in restoring.FIXED_STEPS]
    assert rates == sorted(rates, reverse=True)


def test_resuming_what_is_finished_changes_nothing(finished: Path) -> None:
    before = (finished / "model.ckpt").read_bytes()
    (line,) = lapped_codec.resume(finished)
    assert lapped_model.load(finished / "model.ckpt").identity in line
    assert (finished / "model.ckpt").read_bytes() == before


@pytest.mark.parametrize(
    ("module", "where", "calls"), [(resumable, "save", 4), (restoring, "_write_pairs", 1)], ids=["save", "pairs"]
)
def test_an_interrupted_run_ends_like_a_whole_one(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, where: str, calls: int
) -> None:
    folder = started(tmp_path / "run")
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(module, where, stopping(getattr(module, where), calls))
        list(lapped_codec.resume(folder))
    assert not (folder / "model.ckpt").exists()
    list(lapped_codec.resume(folder))
    for name in ("model.ckpt", "history.jsonl"):
        assert (folder / name).read_bytes() == (finished / name).read_bytes()


def test_a_coder_kept(finished: Path, tmp_path: Path) -> None:
    model = lapped_model.load(finished / "model.ckpt")
    lapped_codec.start(tmp_path / "run", images(), CONFIG, model.coder)
    assert "decoding" in next(lapped_codec.resume(tmp_path / "run"))
    list(lapped_codec.resume(tmp_path / "run"))
    assert (tmp_path / "run" / "model.ckpt").read_bytes() == (finished / "model.ckpt").read_bytes()


def test_a_generator_that_is_dropped(finished: Path, tmp_path: Path) -> None:
    folder = started(tmp_path / "run")
    lines = lapped_codec.resume(folder)
    assert "fitting" in next(lines)
    assert "decoding" in next(lines)
    lines.close()
    assert not (folder / "pairs.npz").exists()
    *_, last = lapped_codec.resume(folder)
    assert "model.ckpt" in last
    assert (folder / "model.ckpt").read_bytes() == (finished / "model.ckpt").read_bytes()


def test_history_is_cut_where_the_state_is(finished: Path, tmp_path: Path) -> None:
    """Lines of steps that are trained anew would stand twice."""
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    line = json.loads((folder / "history.jsonl").read_text())
    with (folder / "history.jsonl").open("a") as stream:
        stream.write(json.dumps(line | {"step": 9}) + "\n")
    list(lapped_codec.resume(folder))
    assert (folder / "history.jsonl").read_bytes() == (finished / "history.jsonl").read_bytes()


def test_decode(finished: Path) -> None:
    model = lapped_model.load(finished / "model.ckpt")
    db = images()[1].db
    restored, size = lapped_codec.decode(model.coder, db, 1024)
    assert restored.shape == db.shape
    rmse = float(np.sqrt(np.mean((restored + np.median(db) - db) ** 2)))
    assert rmse < 0.2
    coarse, smaller = lapped_codec.decode(model.coder, db, 2048)
    assert smaller < size / 2
    assert coarse.shape == db.shape


def test_images_round_trip(tmp_path: Path) -> None:
    prepared_run.write_images(tmp_path / "images.npz", images())
    again = prepared_run.read_images(tmp_path / "images.npz")
    for a, b in zip(again, images(), strict=True):
        assert (a.name, a.validation) == (b.name, b.validation)
        np.testing.assert_array_equal(a.db, b.db)


def test_a_run_exists_already(finished: Path) -> None:
    with pytest.raises(errors.InputError, match="--resume"):
        lapped_codec.start(finished, images(), CONFIG)


@pytest.mark.parametrize(("kept", "message"), [([0, 1], "validation"), ([2], "training"), ([], "training")])
def test_splits_must_not_be_empty(tmp_path: Path, kept: list[int], message: str) -> None:
    with pytest.raises(errors.InputError, match=f"none for {message}"):
        lapped_codec.start(tmp_path / "run", [images()[number] for number in kept], CONFIG)
    assert not (tmp_path / "run").exists()


def test_images_smaller_than_a_crop(tmp_path: Path) -> None:
    with pytest.raises(errors.InputError, match=r"image 0.*68 pixels"):
        started(tmp_path / "run", LappedConfig(crop=68))


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(errors.FormatError, match=r"run\.json"):
        next(lapped_codec.resume(tmp_path))


@pytest.mark.parametrize("text", ["", "[1]", '{"epochs": 3}', "{"])
def test_settings_of_something_else(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(errors.FormatError, match=r"run\.json"):
        next(lapped_codec.resume(tmp_path))


@pytest.mark.parametrize("keep", [0, 10, 5000])
def test_images_that_are_cut_off(tmp_path: Path, keep: int) -> None:
    folder = started(tmp_path / "run")
    (folder / "images.npz").write_bytes((folder / "images.npz").read_bytes()[:keep])
    with pytest.raises(errors.FormatError, match="prepared images"):
        next(lapped_codec.resume(folder))


@pytest.mark.parametrize(
    ("gains", "below"),
    [
        ([0.3, 0.2, 0.05, 0.01, 0.06], 1664 + round(256 * 0.1 / 0.15)),
        ([0.05, 0.05, 0.05, 0.05, 0.05], 1408),
        ([0.3, 0.2, 0.2, 0.2, 0.1], 2432),
    ],
)
def test_restorer_is_used_where_it_is_worthwhile(gains: list[float], below: int) -> None:
    record = {f"gain@{number}": gain for number, gain in enumerate(gains)} | {"loss": 0.9}
    assert lapped_codec.worthwhile_below(record) == below
