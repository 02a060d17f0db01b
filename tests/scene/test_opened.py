"""An open file at a lower resolution: windows count pixels of the full image."""

from pathlib import Path

import numpy as np
import pytest

import sarcodec
import tiny
from sarcodec import errors
from sarcodec.scene import model_store, source


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("opened") / "a.sarc"
    path.write_bytes(sarcodec.compress(tiny.db((200, 170)), quantity="db"))
    return path


def test_windows_of_a_reduced_image_count_full_pixels(path: Path) -> None:
    with sarcodec.open(path) as image:
        whole = image.read(1, reduce=2)
        assert whole.shape == (50, 43)
        np.testing.assert_array_equal(image.read(1, ((41, 99), (0, 170)), reduce=2), whole[10:25])
        assert image.read(reduce=6).shape == (1, 4, 3)


@pytest.mark.parametrize("reduce", [-1, 7])
def test_no_such_resolution(path: Path, reduce: int) -> None:
    with sarcodec.open(path) as image, pytest.raises(errors.InputError, match=f"reduce: got {reduce}; pass 0 to 6"):
        image.read(1, reduce=reduce)


def test_without_the_restoring_network(path: Path) -> None:
    """It is left out, and nothing else."""
    with sarcodec.open(path) as image, sarcodec.open(path, restorer=False) as plain:
        restored, coded = image.read(1), plain.read(1)
        assert 0.01 < np.abs(restored - coded).max() < 5
        assert np.abs(restored - coded).mean() < 0.2
        np.testing.assert_array_equal(coded, sarcodec.decompress(path, restorer=False))
        np.testing.assert_array_equal(restored, sarcodec.decompress(path))
        np.testing.assert_array_equal(coded[50:90, 10:99], plain.read(1, ((50, 90), (10, 99))))


def test_a_folder_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is called as a shipped model, as a training's may be, does not stand in its way."""
    monkeypatch.chdir(tmp_path)
    Path("lapped64").mkdir()
    Path("mine").mkdir()
    assert model_store.load_model("lapped64").identity == model_store.IDENTITIES["lapped64"]
    with pytest.raises(errors.InputError, match="model: 'mine' is neither a checkpoint file nor a shipped model"):
        model_store.load_model("mine")


def test_variable_rate_autoencoders_in_bfloat16() -> None:
    """PyTorch runs their restoring network there, and pixels change by little."""
    data = sarcodec.compress(tiny.db((64, 80)), quantity="db", model=tiny.variable_codec(), step=1700)
    rounded = model_store.codec_of(tiny.variable(), precision="bfloat16")
    off = np.abs(sarcodec.decompress(data, model=rounded) - sarcodec.decompress(data, model=tiny.variable_codec()))
    assert 0 < off.max() < 0.5
    with pytest.raises(errors.InputError, match="precision: got 'int8'"):
        model_store.codec_of(tiny.variable(), precision="int8")


def test_nothing_is_said_of_a_file_that_knows_better(path: Path, tmp_path: Path) -> None:
    """As a source a ``.sarc`` file has all its bands and its own nodata value."""
    with pytest.raises(errors.InputError, match=r"nodata: got -9999; .*a\.sarc knows its own, leave it out"):
        sarcodec.compress_file(path, tmp_path / "b.sarc", nodata=-9999)
    with pytest.raises(errors.InputError, match=r"polarisation: got VV; of .*a\.sarc all bands are taken"):
        source.open(path, "VV")
    assert not (tmp_path / "b.sarc").exists()
