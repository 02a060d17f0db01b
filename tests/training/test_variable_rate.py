"""Training the variable-rate autoencoder: a tiny run, interrupted and not."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from runs import Interrupted, stopping
from sarcodec import errors
from sarcodec.entropy import scale
from sarcodec.scene import arrays, model_store
from sarcodec.training import decoder_network, lapped_codec, resumable, variable_rate
from sarcodec.training.prepared_run import Image
from sarcodec.training.variable_rate import VariableRateConfig
from sarcodec.variable import decoder
from sarcodec.variable import model as variable_model

CONFIG = VariableRateConfig(
    stages=(6, 3),
    linear_steps=2,
    rounds=1,
    fit_steps=2,
    draws=1,
    pairs=1,
    channels=(4, 4, 4),
    network_steps=4,
    batch=2,
    window=4,
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
    assert model.training["settings"]["network_steps"] == 4
    (line,) = (finished / "history.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record == model.training["last"]
    rates = [record[f"bpp@{scale.step_db(step):.3g}"] for step in lapped_codec.FIXED_STEPS]
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


def test_the_network_at_work_is_the_one_that_was_trained() -> None:
    torch.manual_seed(1)
    network = decoder_network.DecoderNetwork(5, (6, 4, 4)).eval()
    for weights in network.parameters():
        torch.nn.init.normal_(weights, std=0.2)
    latents = np.random.default_rng(0).normal(0, 9, (5, 6, 7)).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(latents)[None], torch.tensor([1.7]))[0, 0].numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(decoder.Running(network.export())(latents, 1.7), expected, atol=1e-4)


def test_an_untrained_network_adds_nothing() -> None:
    network = decoder_network.DecoderNetwork(5, (6, 4, 4)).eval()
    with torch.inference_mode():
        assert not network(torch.ones(1, 5, 3, 3), torch.ones(1)).any()


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
