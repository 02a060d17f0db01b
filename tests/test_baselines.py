"""The peers: round trips, byte budgets and the 16-bit mapping."""

import itertools
import math
import subprocess
import sys

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest

from sarcodec import baselines, errors

PEERS = sorted(baselines.PEERS)


@pytest.fixture
def codecs() -> None:
    pytest.importorskip("imagecodecs", reason="the peers need the extra 'bench' (imagecodecs)")


def speckled_db(shape: tuple[int, int] = (128, 160)) -> np.ndarray:
    """Gamma speckle of 4.4 looks on a smooth scene, in dB."""
    speckle = np.random.default_rng(0).gamma(4.4, 1.0 / 4.4, shape)
    rows, columns = np.indices(shape) / 25.0
    return 10.0 * np.log10(speckle) - 14.0 + 4.0 * np.sin(rows) * np.cos(columns)


def speckled_u16() -> np.ndarray:
    image = speckled_db()
    return baselines.to_uint16(image, np.ones(image.shape, bool))[0]


def rmse(first: np.ndarray, second: np.ndarray) -> float:
    return math.sqrt(np.mean((first.astype(np.float64) - second.astype(np.float64)) ** 2))


class Halving:
    """A stand-in peer whose stream length is known: round(1000 / level) bytes, finest at level 1."""

    name = "halving"
    levels = (100.0, 1.0)

    def __init__(self) -> None:
        self.encodes = 0

    def encode(self, image_u16: np.ndarray, level: float) -> bytes:
        self.encodes += 1
        return bytes(round(1000.0 / level))

    def decode(self, data: bytes) -> np.ndarray:
        raise NotImplementedError


@pytest.mark.usefixtures("codecs")
@pytest.mark.parametrize("name", PEERS)
def test_finest_level_nearly_restores_the_image(name: str) -> None:
    peer = baselines.PEERS[name]
    image = speckled_u16()
    data = peer.encode(image, peer.levels[1])
    restored = peer.decode(data)
    assert restored.dtype == np.uint16
    assert restored.shape == image.shape
    assert rmse(image, restored) < 20.0  # of 65535: all 16 bits are used
    assert isinstance(data, bytes)


@pytest.mark.usefixtures("codecs")
@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 3), (33, 130)])
def test_odd_sizes_come_back(name: str, shape: tuple[int, int]) -> None:
    peer = baselines.PEERS[name]
    image = np.random.default_rng(1).integers(20000, 40000, shape).astype(np.uint16)
    restored = peer.decode(peer.encode(image, peer.levels[1]))
    assert restored.shape == shape
    assert rmse(image, restored) < 60.0


@pytest.mark.usefixtures("codecs")
@pytest.mark.parametrize("name", PEERS)
def test_streams_are_raw_codestreams_and_repeatable(name: str) -> None:
    peer = baselines.PEERS[name]
    level = math.sqrt(peer.levels[0] * peer.levels[1])
    data = peer.encode(speckled_u16(), level)
    assert data.startswith({"jpeg2000": b"\xff\x4f\xff\x51", "jpegxl": b"\xff\x0a"}[name])
    assert peer.encode(speckled_u16(), level) == data


@pytest.mark.usefixtures("codecs")
def test_jpeg2000_uses_the_irreversible_wavelet() -> None:
    data = baselines.PEERS["jpeg2000"].encode(speckled_u16(), 40.0)
    transform = data.index(b"\xff\x52") + 13  # last byte of the coding style marker, ISO/IEC 15444-1 A.6.1
    assert data[transform] == 0


@pytest.mark.usefixtures("codecs")
@pytest.mark.parametrize("name", PEERS)
def test_more_bytes_give_more_quality(name: str) -> None:
    peer = baselines.PEERS[name]
    image = speckled_u16()
    streams = [baselines.at_bytes(peer, image, round(bpp * image.size / 8)) for bpp in (0.3, 0.7, 1.5, 3.0)]
    sizes = [len(data) for data in streams]
    losses = [rmse(image, peer.decode(data)) for data in streams]
    assert sizes == sorted(sizes)
    assert all(worse > 1.1 * better for worse, better in itertools.pairwise(losses))


@pytest.mark.usefixtures("codecs")
@pytest.mark.parametrize("bpp", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("name", "slack"), [("jpeg2000", 0.05), ("jpegxl", 0.01)])
def test_byte_target_is_met_and_never_exceeded(name: str, slack: float, bpp: float) -> None:
    image = np.tile(speckled_u16(), (2, 2))
    target = round(bpp * image.size / 8)
    size = len(baselines.at_bytes(baselines.PEERS[name], image, target))
    assert (1.0 - slack) * target <= size <= target


@pytest.mark.parametrize("target", [10, 11, 37, 333, 999, 1000])
def test_bisection_finds_the_largest_stream(target: int) -> None:
    peer = Halving()
    data = baselines.at_bytes(peer, speckled_u16(), target)
    assert target * 0.995 - 0.5 <= len(data) <= target
    assert peer.encodes <= 25


def test_the_finest_level_is_enough_for_a_lavish_target() -> None:
    peer = Halving()
    assert len(baselines.at_bytes(peer, speckled_u16(), 10**6)) >= 999
    assert peer.encodes <= 25


def test_an_impossible_target_is_refused_with_what_it_takes() -> None:
    with pytest.raises(errors.InputError, match=r"halving needs at least 10 bytes.*got 9"):
        baselines.at_bytes(Halving(), speckled_u16(), 9)


@pytest.mark.usefixtures("codecs")
@pytest.mark.parametrize("name", PEERS)
def test_restore_counts_stream_and_limits(name: str) -> None:
    image = speckled_db()
    valid = np.ones(image.shape, bool)
    valid[:10, :20] = False
    image[~valid] = math.nan
    restored, n_bytes = baselines.restore(baselines.PEERS[name], image, valid, 4000)
    image_u16, vmin_db, vmax_db = baselines.to_uint16(image, valid)
    data = baselines.at_bytes(baselines.PEERS[name], image_u16, 4000 - 8)
    assert n_bytes == len(data) + 8 <= 4000
    assert np.isnan(restored[~valid]).all()
    expected = baselines.from_uint16(baselines.PEERS[name].decode(data), vmin_db, vmax_db)
    assert np.array_equal(restored[valid], expected[valid])
    assert rmse(image[valid], restored[valid]) < 1.5


@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
@hypothesis.given(
    image=hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-90, 90)),
    data=st.data(),
)
def test_mapping_to_16_bit_is_within_half_a_step(image: np.ndarray, data: st.DataObject) -> None:
    valid = data.draw(hnp.arrays(np.bool_, image.shape))
    hypothesis.assume(valid.any())
    image_u16, vmin_db, vmax_db = baselines.to_uint16(np.where(valid, image, math.nan), valid)
    assert (np.float32(vmin_db), np.float32(vmax_db)) == (vmin_db, vmax_db)  # 4 bytes each hold them exactly
    assert vmin_db <= image[valid].min() <= image[valid].max() <= vmax_db
    restored = baselines.from_uint16(image_u16, vmin_db, vmax_db)
    half_step = (vmax_db - vmin_db) / 65535 / 2
    assert np.abs(restored - image)[valid].max() <= half_step * (1 + 1e-6) + 1e-12


def test_mapping_spans_all_codes_and_fills_invalid_with_the_mean() -> None:
    image = np.array([[-30.0, -10.0], [-20.0, math.inf]])
    image_u16, vmin_db, vmax_db = baselines.to_uint16(image, np.isfinite(image))
    assert (vmin_db, vmax_db) == (-30.0, -10.0)
    assert image_u16.tolist() == [[0, 65535], [32768, 32768]]


def test_a_constant_image_comes_back_exactly() -> None:
    image = np.full((3, 4), -12.25)
    image_u16, vmin_db, vmax_db = baselines.to_uint16(image, np.ones((3, 4), bool))
    assert not image_u16.any()
    assert np.array_equal(baselines.from_uint16(image_u16, vmin_db, vmax_db), image)


@pytest.mark.parametrize(
    ("image", "valid", "message"),
    [
        (np.zeros((2, 3)), np.ones((3, 2), bool), r"\(2, 3\), \(3, 2\)"),
        (np.zeros((2, 3)), np.ones((2, 3)), "float64"),
        (np.zeros(3), np.ones(3, bool), "2-D"),
        (np.zeros((2, 3)), np.zeros((2, 3), bool), "0 valid pixels"),
        (np.full((2, 3), math.nan), np.ones((2, 3), bool), "6 of them not finite"),
    ],
)
def test_mapping_refuses_what_it_cannot_map(image: np.ndarray, valid: np.ndarray, message: str) -> None:
    with pytest.raises(errors.InputError, match=message):
        baselines.to_uint16(image, valid)


@pytest.mark.usefixtures("codecs")
@pytest.mark.parametrize("name", PEERS)
def test_peers_refuse_other_arrays_and_levels(name: str) -> None:
    peer = baselines.PEERS[name]
    for image in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 1), np.uint16), np.zeros((0, 4), np.uint16)):
        with pytest.raises(errors.InputError, match="image_u16"):
            peer.encode(image, 1.0)
    for level in (0.0, -1.0, 1000.0, math.nan):
        with pytest.raises(errors.InputError, match="level"):
            peer.encode(np.zeros((4, 4), np.uint16), level)


@pytest.mark.parametrize("name", PEERS)
def test_a_missing_codec_names_the_install_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    peer = baselines.PEERS[name]
    with pytest.raises(errors.MissingExtra, match=r"imagecodecs.*pip install 'sarcodec\[bench\]'"):
        peer.encode(np.zeros((8, 8), np.uint16), 1.0)
    with pytest.raises(errors.MissingExtra, match=r"pip install 'sarcodec\[bench\]'"):
        peer.decode(b"")


def test_importing_the_module_loads_no_codec() -> None:
    code = "import sys, sarcodec.baselines; sys.exit('imagecodecs' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
