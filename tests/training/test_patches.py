import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from sarcodec import errors
from sarcodec.autoencoder import normalization
from sarcodec.training import patches
from sarcodec.training.patches import Manifest, PatchConfig, PatchSet, Shard

CONFIG = PatchConfig(size=16, stride=8)
BOUNDS = {"db/VV": normalization.Bounds(-20, 0), "db/VH": normalization.Bounds(-30, -10)}
NORMALIZER = normalization.Normalizer(normalization.Clipping("fixed", -20, 0), BOUNDS)
SHARDS = (
    Shard("train/a.0.000.npy", "train", "a.tif", 0, "db/VV", 3, 1),
    Shard("train/a.1.000.npy", "train", "a.tif", 1, "db/VH", 2, 2),
    Shard("train/b.0.000.npy", "train", "b.tif", 0, "db/VV", 0, 4),
    Shard("val/c.0.000.npy", "val", "c.tif", 0, "db/VV", 4, 0),
)
MANIFEST = Manifest(CONFIG, NORMALIZER, SHARDS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A patch set whose patches hold their own number where they are valid."""
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
    for offset, shard in zip((0, 3, 5, 0), SHARDS, strict=True):
        stack = np.zeros((shard.patches, 16, 16), np.float32)
        stack -= np.arange(offset, offset + shard.patches, dtype=np.float32)[:, None, None]
        stack[:, 0, :4] = np.nan
        np.save(tmp_path / shard.file, stack)
    patches.write_manifest(tmp_path, MANIFEST)
    return tmp_path


def test_manifest_round_trip(folder: Path) -> None:
    assert patches.read_manifest(folder) == MANIFEST
    assert Manifest.from_dict(json.loads(json.dumps(MANIFEST.to_dict()))) == MANIFEST
    assert (MANIFEST.count("train"), MANIFEST.count("val"), MANIFEST.count("test")) == (5, 4, 0)
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json", "train", "val"]


GOOD = MANIFEST.to_dict()


@pytest.mark.parametrize(
    "record",
    [
        [],
        None,
        {},
        GOOD | {"format": "other"},
        GOOD | {"version": 2},
        GOOD | {"config": {"size": 16, "width": 3}},
        GOOD | {"config": {"size": 17}},
        GOOD | {"normalizer": {}},
        GOOD | {"shards": [{"file": "a"}]},
        GOOD | {"shards": [dataclasses.asdict(SHARDS[0]) | {"more": 1}]},
        GOOD | {"shards": [dataclasses.asdict(SHARDS[0]) | {"key": "db/HH"}]},
    ],
)
def test_manifest_garbage_is_refused(record: object, tmp_path: Path) -> None:
    with pytest.raises(errors.FormatError, match="manifest"):
        Manifest.from_dict(record)
    (tmp_path / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(errors.FormatError, match="patch set"):
        patches.read_manifest(tmp_path)


def test_missing_or_broken_manifest(tmp_path: Path) -> None:
    with pytest.raises(errors.FormatError, match="make one with 'sarcodec prepare'"):
        PatchSet(tmp_path, "train")
    for text in (b"", b"{", b"\xff"):
        (tmp_path / "manifest.json").write_bytes(text)
        with pytest.raises(errors.FormatError, match=str(tmp_path)):
            PatchSet(tmp_path, "train")


@pytest.mark.parametrize("setting", [{"size": 0}, {"size": 8}, {"size": 40}, {"size": -16}, {"stride": 0}])
def test_bad_config_is_refused(setting: dict[str, int]) -> None:
    with pytest.raises(errors.InputError, match="multiple of 16"):
        PatchConfig(**setting)


def test_patch_set_finds_every_patch_in_its_shard(folder: Path) -> None:
    train, val = PatchSet(folder, "train"), PatchSet(folder, "val")
    assert (len(train), len(val), len(PatchSet(folder, "test"))) == (5, 4, 0)
    for index in range(5):
        shard, patch = train.locate(index)
        assert shard is train.shards[0 if index < 3 else 1]
        assert patch.dtype == np.float32
        assert patch[5, 5] == -index
        assert np.isnan(patch[0, :4]).all()
    assert val.locate(3)[1][5, 5] == -3


def test_scaled_uses_the_bounds_of_the_shard_and_fills_with_the_mean(folder: Path) -> None:
    train = PatchSet(folder, "train")
    for index in range(5):
        expected = (-index + 20) / 20 if index < 3 else 1.0  # 3 and 4 dB below 0 lie above the VH bounds
        scaled = train.scaled(index)
        assert scaled.shape == (16, 16)
        assert scaled.dtype == np.float32
        np.testing.assert_allclose(scaled, expected, atol=1e-6)
        assert scaled.max() <= 1
    assert np.isnan(train.locate(0)[1][0, 0]), "the stored patch is left as it is"
    train.scaled(0)[...] = 7
    assert train.scaled(0).max() <= 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no array" * 100),
        lambda path: path.write_bytes(path.read_bytes()[:60]),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: np.save(path, np.zeros((2, 16, 16), np.float32)),
        lambda path: np.save(path, np.zeros((3, 16, 8), np.float32)),
        lambda path: np.save(path, np.zeros((3, 16, 16), np.float64)),
        lambda path: np.save(path, np.full((3, 16, 16), None), allow_pickle=True),
        lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)),
    ],
)
def test_missing_and_damaged_shards_are_named(folder: Path, damage) -> None:
    damage(folder / SHARDS[0].file)
    with pytest.raises(errors.FormatError, match=r"shard .*a\.0\.000\.npy.*run 'sarcodec prepare' again"):
        PatchSet(folder, "train")
    PatchSet(folder, "val")


def test_augment_gives_the_eight_isometries() -> None:
    patch = np.random.default_rng(0).random((16, 16)).astype(np.float32)
    turned = [patches.augment(patch, choice) for choice in range(8)]
    np.testing.assert_array_equal(turned[0], patch)
    assert len({array.tobytes() for array in turned}) == 8
    rows, columns = np.indices(patch.shape) - 7.5
    radius = (rows**2 + columns**2).ravel()
    for array in turned:
        assert array.flags.c_contiguous
        for r in np.unique(radius):  # an isometry of the square keeps every pixel's distance from the centre
            at = radius == r
            np.testing.assert_array_equal(np.sort(array.ravel()[at]), np.sort(patch.ravel()[at]))
        corner = np.argwhere(array == patch[0, 0])[0]
        neighbours = [np.argwhere(array == patch[0, 1])[0], np.argwhere(array == patch[1, 0])[0]]
        assert all(np.abs(corner - n).sum() == 1 for n in neighbours)


def test_quality_filter() -> None:
    config = PatchConfig(size=16, min_std=0.1, max_invalid=0.25)
    contrast = np.resize(np.array([0.3, 0.7], np.float32), (16, 16))  # its standard deviation is 0.2
    none, quarter, more = np.zeros((3, 16, 16), bool)
    quarter[:4] = True
    more[:4] = True
    more[4, 0] = True
    assert patches.is_good(contrast, none, config)
    assert patches.is_good(contrast, quarter, config)
    assert not patches.is_good(contrast, more, config)
    assert not patches.is_good(np.full((16, 16), 0.5, np.float32), none, config)
    assert not patches.is_good(0.5 + 0.4 * (contrast - 0.5), none, config)
    holes = np.where(quarter, np.float32(np.nan), contrast)
    assert patches.is_good(holes, quarter, config)
    everything = np.ones((16, 16), bool)
    void = np.full((16, 16), np.nan, np.float32)
    assert not patches.is_good(void, everything, dataclasses.replace(config, max_invalid=1.0))
