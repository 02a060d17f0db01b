"""Training the variable-rate autoencoder: a tiny run, interrupted and not."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import tiny
from runs import Interrupted, stopping
from sarcodec import errors
from sarcodec.entropy import scale
from sarcodec.scene import arrays, model_store
from sarcodec.training import restoring, resumable, variable_rate
from sarcodec.training.prepared_run import Image
from sarcodec.training.variable_rate import VariableRateConfig
from sarcodec.variable import model as variable_model

CONFIG = VariableRateConfig(
    stages=(6, 3),
    linear_steps=2,
    rounds=1,
    fit_steps=2,
    draws=1,
    pairs=1,
    channels=4,
    layers=2,
    restorer_steps=4,
    batch=2,
    crop=32,
    save_minutes=0.0,
)


def images() -> list[Image]:
    shapes = [(192, 208), (200, 192), (80, 70)]
    return [Image(f"image {i}", tiny.simulated_db(shape, i), i == 2) for i, shape in enumerate(shapes)]


def started(folder: Path, config: VariableRateConfig = CONFIG) -> Path:
    variable_rate.start(folder, images(), config)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = started(tmp_path_factory.mktemp("runs") / "whole")
    list(variable_rate.resume(folder))
    return folder


def test_a_run(finished: Path) -> None:
    model = variable_model.load(finished / "model.ckpt")
    assert model.transform.count == 9
    assert model.training["settings"]["restorer_steps"] == 4
    (line,) = (finished / "history.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record == model.training["last"]
    rates = [record[f"bpp@{scale.step_db(step):.3g}"] for step in restoring.FIXED_STEPS]
    assert rates == sorted(rates, reverse=True)


def test_what_it_makes_is_a_codec(finished: Path) -> None:
    pixels = tiny.simulated_db((70, 90), 7)
    model = model_store.open_codec(finished / "model.ckpt")
    fine, coarse = (arrays.compress(pixels, quantity="db", model=model, step=step) for step in (1300, 2200))
    assert len(coarse) < len(fine)
    found = [np.mean((arrays.decompress(data, model=model) - pixels) ** 2) for data in (fine, coarse)]
    assert found[0] < found[1] < np.var(pixels)


def test_an_interrupted_run_ends_like_a_whole_one(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = started(tmp_path / "run")
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(resumable, "save", stopping(resumable.save, 2))
        list(variable_rate.resume(folder))
    assert not (folder / "model.ckpt").exists()
    list(variable_rate.resume(folder))
    for name in ("model.ckpt", "history.jsonl"):
        assert (folder / name).read_bytes() == (finished / name).read_bytes()


def test_all_but_the_network_kept(finished: Path, tmp_path: Path) -> None:
    model = variable_model.load(finished / "model.ckpt")
    variable_rate.start(
        tmp_path / "run", images(), dataclasses.replace(CONFIG, seed=3), (model.transform, model.coder)
    )
    assert "decoding" in next(variable_rate.resume(tmp_path / "run"))
    list(variable_rate.resume(tmp_path / "run"))
    again = variable_model.load(tmp_path / "run" / "model.ckpt")
    for part, kept in ((again.transform, model.transform), (again.coder, model.coder)):
        for name, array in kept.to_arrays().items():
            np.testing.assert_array_equal(part.to_arrays()[name], array)
    name = "layers.0.weight"
    assert (again.restorer.weights[name] != model.restorer.weights[name]).any()


def test_runs_that_cannot_begin(tmp_path: Path, finished: Path) -> None:
    with pytest.raises(errors.InputError, match="exists already"):
        started(finished)
    with pytest.raises(errors.InputError, match="none for validation"):
        variable_rate.start(tmp_path / "a", images()[:2], CONFIG)
    with pytest.raises(errors.InputError, match="none for training"):
        variable_rate.start(tmp_path / "a", images()[2:], CONFIG)
    small = [*images(), Image("small one", tiny.simulated_db((191, 300)), False)]
    with pytest.raises(errors.InputError, match="small one is smaller than 192×192"):
        variable_rate.start(tmp_path / "a", small, CONFIG)
    with pytest.raises(errors.FormatError, match=r"run\.json"):
        list(variable_rate.resume(tmp_path))
