import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.ndimage

import plain_decoder
from sarcodec import errors
from sarcodec.nearlossless import adaptive, prediction, residual

GOLDEN_EXACT = (
    "55050000001554c6623895d927703f93eaca53ab5ba0a221fb385b117b1dd1db0d57dab7b5b0861ab954cc8b5e5e9118b6dd"
    "338a4cdc2fa0784f767ecc72bd6a0fb6f15cd3831ba9ef35c73ec179a6305cc24a5077aca83ca2e642e4e41247c5e055bad2"
    "8d00565a5999ddc7dfcf0186fabd45be6811ce5f246ccb7807508b37ece8397f36ba065419527f41e12520762a4b60ca43a1"
    "886499e3924c6499a41d18198642653183f77136b65ed847fb2b806866032da531b3466e44c179a3d47f308741c870"
)
GOLDEN_NEAR = (
    "d502050000007ebce6739670ce24c7d6354bb8636bb67cec137bf087f49d3954cbf01c8e16c010a02fcde9eeb9a751340b3b"
    "9ae34b2726024e82d5ff2a0af338b5ac847d0548e8a753adad3680b0b5ae4931e2525696d4f9a4fa485f6db1de0ca60498b9"
    "f5410000cbef"
)

shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))
extremes = st.sampled_from([0, 0, 0, 1, -1, 2, -3, 40, -41, 1000, -70000, residual.LIMIT, -residual.LIMIT])
quiet = hypothesis.settings(deadline=None, max_examples=60)


@st.composite
def fields(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(shapes)
    kind = draw(st.sampled_from(["extremes", "small", "smooth"]))
    if kind == "extremes":
        values = draw(hnp.arrays(np.int32, shape, elements=extremes, fill=st.just(0)))
    else:
        values = noise(shape, draw(st.integers(0, 99)), 0.3 if kind == "small" else 30.0, 0 if kind == "small" else 2)
    valid = draw(st.one_of(st.just(np.ones(shape, bool)), hnp.arrays(bool, shape)))
    return values, valid


def noise(shape: tuple[int, int], seed: int, scale: float, smooth: float = 0.0) -> np.ndarray:
    white = np.random.default_rng(seed).standard_normal(shape)
    if smooth:
        white = scipy.ndimage.gaussian_filter(white, smooth) * 3 * smooth
    return np.rint(scale * white).astype(np.int32)


def speckled(shape: tuple[int, int], seed: int) -> np.ndarray:
    """An image in dB like a scene: bumps, and speckle that is correlated from pixel to pixel."""
    rng = np.random.default_rng(seed)
    ground = 3 * np.sign(scipy.ndimage.gaussian_filter(rng.standard_normal(shape), 12)) - 12
    return (ground + 5 * scipy.ndimage.gaussian_filter(rng.standard_normal(shape), 0.8)).astype(np.float32)


@quiet
@hypothesis.given(fields())
def test_round_trip_is_exact(case: tuple[np.ndarray, np.ndarray]) -> None:
    values, valid = case
    restored = residual.decode(residual.encode(values, valid), valid)
    assert restored.dtype == np.int32
    np.testing.assert_array_equal(restored, np.where(valid, values, 0))


@quiet
@hypothesis.given(fields(), st.sampled_from([1, 2, 15, residual.MAX_NEAR]))
def test_round_trip_is_near(case: tuple[np.ndarray, np.ndarray], near: int) -> None:
    values, valid = case
    restored = residual.decode(residual.encode(values, valid, near), valid)
    assert np.abs(restored.astype(np.int64) - values)[valid].max(initial=0) <= near
    assert not restored[~valid].any()


@pytest.mark.parametrize("near", [0, 15])
@pytest.mark.parametrize("scale", [0.1, 3.0, 200.0, 30000.0])
def test_round_trip_of_a_tile_with_fitted_weights(scale: float, near: int) -> None:
    values = noise((300, 333), 1, scale, 1.0)
    valid = np.random.default_rng(2).random(values.shape) > 0.01
    valid[:70, :90] = False
    data = residual.encode(values, valid, near)
    assert np.abs(residual.decode(data, valid) - values)[valid].max() <= near


def test_nothing_to_correct_costs_nothing() -> None:
    valid = np.ones((64, 64), bool)
    zeros = np.zeros(valid.shape, np.int32)
    assert residual.encode(zeros, valid) == b""
    assert residual.encode(zeros + 5, valid, near=5) == b""
    assert residual.encode(zeros + 9, ~valid) == b""
    np.testing.assert_array_equal(residual.decode(b"", valid), zeros)
    one = zeros.copy()
    one[13, 40] = 1
    assert len(residual.encode(one, valid)) <= 17


def test_the_same_bytes_for_any_layout_and_no_matter_what_is_invalid() -> None:
    values = noise((90, 70), 3, 2.0, 1.0)
    valid = np.random.default_rng(4).random(values.shape) > 0.2
    data = residual.encode(values, valid)
    other = np.where(valid, values, 2**31 - 1).astype(np.int64)
    assert residual.encode(np.asfortranarray(other), np.asfortranarray(valid)) == data
    np.testing.assert_array_equal(residual.decode(data, np.asfortranarray(valid)), residual.decode(data, valid))


def golden_field() -> tuple[np.ndarray, np.ndarray]:
    row, column = np.indices((19, 23))
    values = (row * column % 7 - 3) * (row // 6) + 5 + np.where((row == 9) & (column == 11), 123456, 0)
    return values.astype(np.int32), (row + 2 * column) % 11 > 0


@pytest.mark.parametrize(("near", "golden"), [(0, GOLDEN_EXACT), (2, GOLDEN_NEAR)])
def test_streams_never_change(near: int, golden: str) -> None:
    values, valid = golden_field()
    assert residual.encode(values, valid, near).hex() == golden
    assert np.abs(residual.decode(bytes.fromhex(golden), valid) - values)[valid].max() <= near


@pytest.mark.parametrize("eps", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("near", [0, residual.FINE])
def test_the_bound_holds_for_a_decoder_that_differs_within_the_tolerance(eps: float, near: int) -> None:
    original = speckled((120, 130), 5)
    valid = np.ones(original.shape, bool)
    valid[5:9, 3:40] = False
    original[~valid] = np.nan
    approximation = scipy.ndimage.gaussian_filter(speckled((120, 130), 5), 1.5)
    tolerance = 2e-3
    units = residual.quantise(original, approximation, valid, eps, tolerance, near)
    restored = residual.decode(residual.encode(units, valid, near), valid)
    for seed, amount in enumerate([0.0, 1e-3, 1.99e-3]):
        drift = np.random.default_rng(seed).choice([-amount, amount], valid.shape)
        there = (approximation + drift).astype(np.float32)
        result = residual.apply(there, restored, eps, tolerance, near)
        assert result.dtype == np.float32
        assert np.abs(result.astype(np.float64) - original)[valid].max() <= eps
    np.testing.assert_array_equal(result[~valid], there[~valid])


def reference_decode(data: bytes, valid: np.ndarray) -> np.ndarray:
    """Decode as docs/format.md says; nothing of the package is used."""
    return np.where(valid, plain_decoder.Bounded(data, valid).decode(), 0)


@pytest.mark.parametrize("near", [0, 2, 15])
@pytest.mark.parametrize("scale", [0.05, 4.0, 3000.0])
def test_an_independent_decoder_reads_the_same_values(scale: float, near: int) -> None:
    values = noise((37, 70), 13, scale * (1 + 3 * near), 0.8)
    values[3, 4] = 600000
    valid = np.random.default_rng(14).random(values.shape) > 0.05
    data = residual.encode(values, valid, near)
    np.testing.assert_array_equal(reference_decode(data, valid), residual.decode(data, valid))


def test_an_independent_decoder_reads_stored_weights() -> None:
    values = noise((130, 131), 15, 3.0, 0.8)
    valid = np.ones(values.shape, bool)
    data = residual.encode(values, valid)
    assert data[0] & 3 == prediction.Weights.STORED
    np.testing.assert_array_equal(reference_decode(data, valid), values)


def entropy_of(symbols: np.ndarray, contexts: np.ndarray) -> float:
    """Empirical conditional entropy in bits, tables for nothing."""
    _, pairs = np.unique(np.stack([contexts.ravel(), symbols.ravel()]), axis=1, return_counts=True)
    _, alone = np.unique(contexts, return_counts=True)
    return float((alone * np.log2(alone)).sum() - (pairs * np.log2(pairs)).sum())


def test_sparse_fields_cost_their_entropy() -> None:
    rng = np.random.default_rng(6)
    field = ((rng.random((512, 512)) < 0.01) * rng.choice([-1, 1], (512, 512))).astype(np.int32)
    bits = 8 * len(residual.encode(field, np.ones(field.shape, bool)))
    assert bits < 1.03 * entropy_of(field, np.zeros_like(field))


def test_dense_fields_cost_their_entropy_given_causal_neighbours() -> None:
    scale = np.exp(scipy.ndimage.gaussian_filter(np.random.default_rng(7).standard_normal((384, 384)), 8) * 15)
    field = np.rint(scale * np.random.default_rng(8).laplace(0, 1, scale.shape)).astype(np.int32)
    around = np.abs(field)[:-1, :-1] + np.abs(field)[1:, :-1] + np.abs(field)[:-1, 1:]
    bits = 8 * len(residual.encode(field, np.ones(field.shape, bool)))
    assert bits < 1.025 * entropy_of(field[1:, 1:], np.minimum(around, 40)) * field.size / around.size


def test_coding_an_image_within_a_bound_beats_rounding_it_first() -> None:
    image, valid = speckled((256, 256), 9), np.ones((256, 256), bool)
    sizes = [
        len(residual.encode(residual.quantise(image, 0.0, valid, 1.0, 1e-3, near), valid, near))
        for near in (0, residual.FINE)
    ]
    assert sizes[1] < 0.95 * sizes[0]


@pytest.mark.parametrize("near", [0, 15])
def test_damage_never_crashes(near: int) -> None:
    values, valid = noise((130, 140), 10, 60.0), np.ones((130, 140), bool)
    data = residual.encode(values, valid, near)
    rng = np.random.default_rng(11)
    for trial in range(150):
        damaged = bytearray(data)
        if trial % 3:
            for _ in range(int(rng.integers(1, 8))):
                place = int(rng.integers(0, 90)) if trial % 3 == 1 else int(rng.integers(0, len(data)))
                damaged[place] = int(rng.integers(256))
        else:
            del damaged[int(rng.integers(1, len(data))) :]
        try:
            restored = residual.decode(bytes(damaged), valid)
        except errors.FormatError:
            continue
        assert restored.shape == valid.shape and np.abs(restored).max() <= 4 * residual.LIMIT


def test_noise_is_no_stream() -> None:
    rng = np.random.default_rng(12)
    valid = np.ones((40, 40), bool)
    for size in range(1, 60):
        data = rng.bytes(size)
        try:
            assert residual.decode(data, valid).shape == valid.shape
        except errors.FormatError:
            continue


def test_damage_that_shows_is_an_error() -> None:
    values, valid = golden_field()
    data = residual.encode(values, valid, 2)
    flags = data[0]
    cases = {
        "no such weights": bytes([flags | 3]) + data[1:],
        "damaged": data[:-1],
        "bytes with flags": data[:3],
        "offset": data[:2] + b"\xff\xff\xff\x7f" + data[6:],
        "left over": data + bytes(range(1, 65)),
    }
    stored = bytes([flags & 0xFC | 2]) + data[1:6] + b"\x7f" * 19 + data[6:]
    for word, damaged in [*cases.items(), ("no such weights", stored)]:
        with pytest.raises(errors.FormatError, match=word):
            residual.decode(damaged, valid)


def test_what_cannot_be_coded_is_refused() -> None:
    valid = np.ones((4, 5), bool)
    zeros = np.zeros((4, 5), np.int32)
    with pytest.raises(errors.InputError, match="1048577"):
        residual.encode(zeros - residual.LIMIT - 1, valid)
    for bad in (zeros.astype(float), zeros[:3], zeros.ravel()):
        with pytest.raises(errors.InputError, match="residual, valid"):
            residual.encode(bad, valid)
    for near in (-1, residual.MAX_NEAR + 1):
        with pytest.raises(errors.InputError, match="near"):
            residual.encode(zeros, valid, near)
    db = np.zeros((4, 5), np.float32)
    for eps, tolerance in ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (np.inf, 0.1), (np.nan, 0.1)):
        with pytest.raises(errors.InputError, match="max_error_db"):
            residual.quantise(db, db, valid, eps, tolerance)
    with pytest.raises(errors.InputError, match="too fine"):
        residual.quantise(db + 30, db, valid, 1e-5, 1e-6)
    with pytest.raises(errors.InputError, match="finite"):
        residual.quantise(db * np.nan, db, valid, 1.0, 1e-3)
    with pytest.raises(errors.InputError, match="finite"):
        residual.quantise(db, np.zeros((3, 4, 5), np.float32), valid, 1.0, 1e-3)


def test_contexts_of_a_kind_fit_the_coder() -> None:
    assert prediction.KINDS * adaptive.CONTEXTS < 1 << 16
    tables = adaptive.Tables(prediction.KINDS)
    for context in range(adaptive.CONTEXTS):
        tables.model(context)
