"""The peers: round trips, byte budgets, error bounds and the mapping to whole numbers."""

import itertools
import math
import struct
import subprocess
import sys

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest

from sarcodec import baselines, errors
from sarcodec.baselines import wheels

PEERS = sorted(baselines.PEERS)
BOUNDED = sorted(baselines.MAX_ERROR)
LIBRARIES = {name: "av" if name == "hevc" else "imagecodecs" for name in PEERS}


def speckled_db(shape: tuple[int, int] = (128, 160)) -> np.ndarray:
    """Gamma speckle of 4.4 looks on a smooth scene, in dB."""
    speckle = np.random.default_rng(0).gamma(4.4, 1.0 / 4.4, shape)
    rows, columns = np.indices(shape) / 25.0
    return (10.0 * np.log10(speckle) - 14.0 + 4.0 * np.sin(rows) * np.cos(columns)).astype(np.float32)


def rmse(first: np.ndarray, second: np.ndarray) -> float:
    return math.sqrt(np.mean((first.astype(np.float64) - second.astype(np.float64)) ** 2))


def usable(name: str) -> baselines.Peer:
    """Return a peer, or skip the test with the reason why it cannot be used here."""
    reason = baselines.available()[name]
    if reason:
        pytest.skip(reason)
    return baselines.PEERS[name]


class Halving:
    """A stand-in peer whose stream length is known: round(1000 / level) bytes, finest at level 1."""

    name = "halving"
    levels = (100.0, 1.0)

    def __init__(self) -> None:
        self.encodes = 0

    def require(self) -> None:
        pass

    def encode(self, db: np.ndarray, level: float) -> bytes:
        self.encodes += 1
        return bytes(round(1000.0 / level))

    def decode(self, data: bytes) -> np.ndarray:
        raise NotImplementedError


def test_every_peer_of_the_protocol_is_there() -> None:
    assert set(PEERS) == {"jpeg2000", "jpegxl", "hevc", "htj2k", "sz3", "sperr", "zfp", "lerc"}
    assert set(BOUNDED) <= set(PEERS)
    assert len({peer.name for peer in baselines.PEERS.values()}) == len(PEERS)
    assert baselines.available().keys() == baselines.PEERS.keys()


@pytest.mark.parametrize("name", PEERS)
def test_finest_level_nearly_restores_the_image(name: str) -> None:
    peer = usable(name)
    image = speckled_db()
    data = peer.encode(image, peer.levels[1])
    restored = peer.decode(data)
    assert isinstance(data, bytes)
    assert restored.dtype == np.float32
    assert restored.shape == image.shape
    codes = 64.0 if name == "hevc" else 20.0  # of 65535: all 16 bits are used, or all 10
    assert rmse(image, restored) < codes * float(np.ptp(image)) / 65535


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 3), (16, 15), (37, 51), (33, 130)])
def test_odd_sizes_come_back(name: str, shape: tuple[int, int]) -> None:
    peer = usable(name)
    image = np.random.default_rng(1).uniform(-20.0, -10.0, shape).astype(np.float32)
    restored = peer.decode(peer.encode(image, peer.levels[1]))
    assert restored.shape == shape
    assert np.abs(image - restored).max() < 0.05


@pytest.mark.parametrize("name", PEERS)
def test_constant_image_comes_back(name: str) -> None:
    peer = usable(name)
    image = np.full((20, 17), -12.25, np.float32)
    for level in (math.sqrt(peer.levels[0] * peer.levels[1]), peer.levels[1]):
        restored = peer.decode(peer.encode(image, level))
        assert np.abs(restored - image).max() <= (level if name in BOUNDED else 0.0)


@pytest.mark.parametrize("name", PEERS)
def test_streams_start_as_specified_and_repeat(name: str) -> None:
    peer = usable(name)
    image = speckled_db((37, 51))
    level = math.sqrt(peer.levels[0] * peer.levels[1])
    data = peer.encode(image, level)
    assert peer.encode(image, level) == data
    assert peer.encode(image.astype(np.float64)[:, ::-1][:, ::-1], level) == data  # dtype and layout do not matter
    starts = {
        "jpeg2000": (8, b"\xff\x4f\xff\x51"),
        "htj2k": (8, b"\xff\x4f\xff\x51"),
        "jpegxl": (8, b"\xff\x0a"),
        "hevc": (16, b"\x00\x00\x00\x01\x40\x01"),  # Annex-B start code and a video parameter set
        "sz3": (0, struct.pack("<II", 37, 51)),
    }
    offset, start = starts.get(name, (0, b""))
    assert data[offset:].startswith(start)
    if offset:
        vmin_db, vmax_db = struct.unpack_from("<ff", data)
        assert vmin_db == image.min()
        assert image.max() <= vmax_db < image.min() + np.ptp(image) * (2 ** (1 / 6) if name == "hevc" else 1 + 1e-6)


def test_jpeg2000_uses_the_irreversible_wavelet() -> None:
    data = usable("jpeg2000").encode(speckled_db(), 40.0)
    transform = data.index(b"\xff\x52") + 13  # last byte of the coding style marker, ISO/IEC 15444-1 A.6.1
    assert data[transform] == 0


def test_hevc_stream_is_one_intra_picture_without_messages() -> None:
    data = usable("hevc").encode(speckled_db(), 10.0)[16:]
    kinds = [unit[0] >> 1 & 63 for unit in data.split(b"\x00\x00\x01")[1:]]  # nal_unit_type, ITU-T H.265 table 7-1
    assert kinds[:3] == [32, 33, 34]  # parameter sets of video, sequence and picture
    assert len(kinds) == 4
    assert 16 <= kinds[3] <= 21  # a picture that starts a sequence: no SEI with the encoder's settings


def test_hevc_level_is_fine_between_whole_quantisers() -> None:
    peer = usable("hevc")
    image = speckled_db()
    sizes = [len(peer.encode(image, 10.0 * 2 ** (k / 30))) for k in range(11)]  # two whole steps of QP
    assert all(0.95 < small / large < 1.01 for large, small in itertools.pairwise(sizes))
    assert sizes[10] < 0.93 * sizes[0]


@pytest.mark.parametrize("name", PEERS)
def test_more_bytes_give_more_quality(name: str) -> None:
    peer = usable(name)
    image = speckled_db()
    bpps = (1.7, 2.6, 4.0, 6.0) if name == "zfp" else (0.5, 1.0, 2.0, 4.0)
    curve = baselines.rate_curve(peer, image, np.ones(image.shape, bool), bpps)
    assert [size <= bpp * image.size / 8 for (size, _), bpp in zip(curve, bpps, strict=True)] == [True] * 4
    assert all(fewer[0] < more[0] for fewer, more in itertools.pairwise(curve))
    losses = [rmse(image, restored) for _, restored in curve]
    assert all(worse > 1.1 * better for worse, better in itertools.pairwise(losses))


@pytest.mark.parametrize("bpp", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    ("name", "slack"),
    [("jpeg2000", 0.05), ("jpegxl", 0.01), ("hevc", 0.01), ("htj2k", 0.01), ("sz3", 0.025), ("sperr", 0.01)],
)
def test_byte_target_is_met_and_never_exceeded(name: str, slack: float, bpp: float) -> None:
    image = np.tile(speckled_db(), (2, 2))
    target = round(bpp * image.size / 8)
    size = len(baselines.at_bytes(usable(name), image, target))
    assert (1.0 - slack) * target <= size <= target


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("max_error", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("shape", [(128, 160), (37, 51), (1, 9)])
def test_largest_error_holds(name: str, max_error: float, shape: tuple[int, int]) -> None:
    peer = usable(name)
    image = speckled_db(shape)
    restored = peer.decode(peer.encode(image, max_error))
    assert np.abs(restored.astype(np.float64) - image).max() <= max_error


def test_sperr_for_mean_error_beats_sperr_for_largest_error() -> None:
    bounded = usable("sperr")
    image = speckled_db()
    free = baselines.Sperr(mode="psnr")
    target = image.size // 8
    losses = [rmse(image, peer.decode(baselines.at_bytes(peer, image, target))) for peer in (free, bounded)]
    assert losses[0] < losses[1]
    assert rmse(image, free.decode(free.encode(image, 0.8))) == pytest.approx(0.8, rel=0.2)


@pytest.mark.parametrize("target", [10, 11, 37, 333, 999, 1000])
def test_bisection_finds_the_largest_stream(target: int) -> None:
    peer = Halving()
    data = baselines.at_bytes(peer, speckled_db(), target)
    assert target * 0.995 - 0.5 <= len(data) <= target
    assert peer.encodes <= 25


def test_the_finest_level_is_enough_for_a_lavish_target() -> None:
    peer = Halving()
    assert len(baselines.at_bytes(peer, speckled_db(), 10**6)) >= 999
    assert peer.encodes <= 25


def test_an_impossible_target_is_refused_with_what_it_takes() -> None:
    with pytest.raises(errors.InputError, match=r"halving needs at least 10 bytes.*got 9"):
        baselines.at_bytes(Halving(), speckled_db(), 9)


@pytest.mark.parametrize("name", PEERS)
def test_restore_counts_the_whole_stream(name: str) -> None:
    peer = usable(name)
    image = speckled_db()
    valid = np.ones(image.shape, bool)
    valid[:10, :20] = False
    image[~valid] = math.nan
    restored, n_bytes = baselines.restore(peer, image, valid, 8000)
    data = baselines.at_bytes(peer, baselines.fill(image, valid), 8000)
    assert n_bytes == len(data) <= 8000
    assert restored.dtype == np.float64
    assert np.isnan(restored[~valid]).all()
    assert np.array_equal(restored[valid], peer.decode(data)[valid])
    assert rmse(image[valid], restored[valid]) < 3.0


def test_dn_is_coded_as_it_is() -> None:
    usable("jpeg2000")
    dn = np.rint(10 ** ((speckled_db() + 54.0) / 20)).astype(np.uint16)
    valid = np.ones(dn.shape, bool)
    valid[:5], dn[:5] = False, 0
    restored_db, n_bytes = baselines.dn_jpeg2000(dn, valid, dn.size // 4)
    original_db = 20 * np.log10(dn[5:])
    assert 0.9 * dn.size / 4 <= n_bytes <= dn.size / 4
    assert np.isnan(restored_db[:5]).all()
    coarse = rmse(restored_db[5:], original_db)
    finer = rmse(baselines.dn_jpeg2000(dn, valid, dn.size)[0][5:], original_db)
    assert finer < 0.25 * coarse < 0.5
    through_db, _ = baselines.restore(baselines.PEERS["jpeg2000"], 20 * np.log10(np.maximum(dn, 1)), valid, n_bytes)
    assert rmse(through_db[5:], original_db) < coarse


@pytest.mark.parametrize(
    ("dn", "valid", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 3), bool), "float64"),
        (np.ones((2, 3), np.uint16), np.ones((3, 2), bool), r"\(3, 2\)"),
        (np.zeros((2, 3), np.uint16), np.ones((2, 3), bool), "DN 0"),
        (np.ones((2, 3), np.uint16), np.zeros((2, 3), bool), "at least one"),
    ],
)
def test_dn_refuses_what_it_cannot_code(dn: np.ndarray, valid: np.ndarray, message: str) -> None:
    with pytest.raises(errors.InputError, match=message):
        baselines.dn_jpeg2000(dn, valid, 1000)


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
    assert baselines.fill(image, np.isfinite(image)).tolist() == [[-30.0, -10.0], [-20.0, -20.0]]


def test_a_constant_image_maps_exactly() -> None:
    image = np.full((3, 4), -12.25)
    image_u16, vmin_db, vmax_db = baselines.to_uint16(image, np.ones((3, 4), bool))
    assert not image_u16.any()
    assert np.array_equal(baselines.from_uint16(image_u16, vmin_db, vmax_db), image)


@pytest.mark.parametrize("function", [baselines.to_uint16, baselines.fill])
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
def test_mapping_refuses_what_it_cannot_map(function, image: np.ndarray, valid: np.ndarray, message: str) -> None:
    with pytest.raises(errors.InputError, match=message):
        function(image, valid)


@pytest.mark.parametrize("name", PEERS)
def test_peers_refuse_other_arrays_and_levels(name: str) -> None:
    peer = usable(name)
    good = np.zeros((4, 4), np.float32)
    for image in (np.zeros((4, 4), np.uint16), good[..., None], good[:0], np.full((4, 4), math.nan)):
        with pytest.raises(errors.InputError, match="db: got"):
            peer.encode(image, peer.levels[1])
    for level in (0.0, -1.0, 1e9, math.nan):
        with pytest.raises(errors.InputError, match="level"):
            peer.encode(good, level)


@pytest.mark.parametrize("name", PEERS)
def test_a_missing_library_names_the_install_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, LIBRARIES[name], None)
    peer = baselines.PEERS[name]
    message = rf'{LIBRARIES[name]} is not installed.*pip install "sarcodec\[bench\]"'
    with pytest.raises(errors.MissingExtra, match=message):
        peer.encode(np.zeros((8, 8), np.float32), peer.levels[1])
    with pytest.raises(errors.MissingExtra, match=message):
        peer.decode(bytes(100))
    assert 'pip install "sarcodec[bench]"' in str(baselines.available()[name])


@pytest.mark.parametrize("name", PEERS)
def test_a_wheel_without_the_codec_is_reported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = usable(name)
    if name == "hevc":
        monkeypatch.setattr("av.codecs_available", {"hevc", "libx264"})
        codec = "libx265"
    else:
        codec = {"jpeg2000": "JPEG2K"}.get(name, name.upper())
        monkeypatch.delattr(f"imagecodecs.{codec}.available")
    message = rf"was built without {codec}"
    assert message in str(baselines.available()[name])
    assert sum(reason is not None for reason in baselines.available().values()) == 1
    with pytest.raises(errors.InputError, match=message):
        baselines.restore(peer, speckled_db(), np.ones((128, 160), bool), 4000)


def test_a_codec_that_a_wheel_does_not_know_is_reported() -> None:
    pytest.importorskip("imagecodecs", reason="needs the extra 'bench' (imagecodecs)")
    with pytest.raises(errors.InputError, match="built without FUTURE"):
        wheels.imagecodecs("FUTURE")


def test_importing_the_package_loads_no_codec() -> None:
    code = "import sys, sarcodec.baselines; sys.exit(bool({'imagecodecs', 'av', 'torch'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
