"""Calibration: what quantisation may cost, and how steps follow the decoder."""

import copy
from pathlib import Path

import numpy as np
import pytest

import tiny
from sarcodec import errors
from sarcodec.training import calibration, patches


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> patches.PatchSet:
    return patches.PatchSet(tiny.patch_set(tmp_path_factory.mktemp("calibration") / "patches"), "train")


def fit(train: patches.PatchSet, **options: object) -> calibration.Calibration:
    return calibration.calibrate(copy.deepcopy(tiny.trained()), train, **options)  # type: ignore[arg-type]


def test_loss_stays_within_its_limit(train: patches.PatchSet) -> None:
    for limit in (0.02, 0.09, 0.5):
        fitted = fit(train, loss_limit_db=limit)
        loss = fitted.psnr_float - fitted.psnr_quantised
        assert 0.7 * limit < loss <= limit + 1e-6  # and makes use of it


def test_reported_psnr_is_of_the_coder(train: patches.PatchSet) -> None:
    """Quantise and decode with the fitted coder itself, away from calibration's own arithmetic."""
    fitted, codec = fit(train), tiny.coder()
    squared = []
    for index in range(len(train)):
        scaled = train.scaled(index)
        symbols = fitted.coder.quantise(codec.engine.transform.encode(scaled), 1)
        squared.append(np.mean((codec.engine.transform.decode(fitted.coder.dequantise(symbols, 1)) - scaled) ** 2))
    assert -10 * np.log10(np.mean(squared)) == pytest.approx(fitted.psnr_quantised, abs=1e-3)


def test_larger_limit_larger_steps(train: patches.PatchSet) -> None:
    fine, coarse = (fit(train, loss_limit_db=limit).coder.steps for limit in (0.02, 0.2))
    assert (coarse > 1.5 * fine).all()
    assert coarse / fine == pytest.approx(coarse[0] / fine[0], rel=1e-4)  # a common scale


def test_tables_for_every_multiplier(train: patches.PatchSet) -> None:
    coder = fit(train, multipliers=(1, 3)).coder
    assert sorted(coder.tables) == [1, 3]
    assert all(len(tables) == 4 for tables in coder.tables.values())
    sizes = [[t.frequencies.size for t in coder.tables[m]] for m in (1, 3)]
    assert sum(sizes[1]) < sum(sizes[0])


def test_steps_follow_the_gain(train: patches.PatchSet) -> None:
    """A channel ten times smaller that the decoder amplifies ten times more gets a step ten times finer."""
    model = copy.deepcopy(tiny.trained())
    model.to_latent.weight.data[2] /= 10
    model.to_latent.bias.data[2] /= 10
    model.decoder[0][0].weight.data[2] *= 10
    before, after = fit(train).coder.steps, calibration.calibrate(model, train).coder.steps
    assert before / after == pytest.approx([1, 1, 10, 1], rel=0.01)


def test_a_channel_that_matters_more_is_finer(train: patches.PatchSet) -> None:
    model = copy.deepcopy(tiny.trained())
    model.decoder[0][0].weight.data[2] *= 3
    before, after = fit(train).coder.steps, calibration.calibrate(model, train).coder.steps
    relative = (after / after[0]) / (before / before[0])
    assert relative[2] < 0.6


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_bad_limit(train: patches.PatchSet, limit: float) -> None:
    with pytest.raises(errors.InputError, match="loss limit"):
        fit(train, loss_limit_db=limit)


def test_empty_split(tmp_path: Path) -> None:
    empty = patches.PatchSet(tiny.patch_set(tmp_path / "patches", train=0), "train")
    with pytest.raises(errors.InputError, match="0 patches"):
        fit(empty)
