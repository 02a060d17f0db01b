import contextlib

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest

import plain_decoder
from sarcodec import errors
from sarcodec.autoencoder import latents as autoencoder_latents
from sarcodec.autoencoder.latents import LatentCoder
from sarcodec.entropy import tables as entropy_tables
from sarcodec.entropy.tables import SymbolTable

MASK = 2**64 - 1
EXTREMES = [0, -1, 1, 2**30, -(2**30), 2**31 - 1, -(2**31), 65535, 65536]


def table(weights: list[float], minimum: int = 0) -> SymbolTable:
    return SymbolTable(minimum, entropy_tables.to_frequencies(np.array(weights, float)))


def laplacian_tables(channels: int, seed: int = 0) -> list[SymbolTable]:
    rng = np.random.default_rng(seed)
    return [SymbolTable.fit(np.rint(rng.laplace(0, 1 + 2 * c, 4000)).astype(np.int32)) for c in range(channels)]


def reference_decode(data: bytes, shape: tuple[int, int, int], tables: list[SymbolTable]) -> np.ndarray:
    """Decode with Python integers alone, as docs/format.md says; nothing of the package's coder is used."""
    plain = [(table.minimum, [0, *np.cumsum(table.frequencies).tolist()]) for table in tables]
    return plain_decoder.version_1(data, shape[1:], plain)


@pytest.mark.parametrize("seed", range(4))
def test_an_independent_decoder_reads_the_same_symbols(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tables = laplacian_tables(3, seed)
    symbols = np.rint(rng.laplace(0, 3, (3, 11, 13))).astype(np.int32)
    symbols[rng.random(symbols.shape) < 0.05] = rng.choice(np.array(EXTREMES))
    symbols[1, :2] = rng.integers(-(2**31), 2**31, (2, 13))
    data = autoencoder_latents.encode(symbols, tables)
    np.testing.assert_array_equal(reference_decode(data, symbols.shape, tables), symbols)
    np.testing.assert_array_equal(autoencoder_latents.decode(data, symbols.shape, tables), symbols)


def test_an_independent_decoder_on_very_likely_and_very_unlikely_symbols() -> None:
    """Frequencies of 1 and of almost 2^24 reach every carry and renormalisation."""
    steep = SymbolTable(-1, np.array([1, entropy_tables.TOTAL - 3, 1, 1]))
    for seed in range(20):
        symbols = (
            np.random.default_rng(seed).choice([-1, 0, 1, 7], (1, 6, 6), p=[0.2, 0.6, 0.1, 0.1]).astype(np.int32)
        )
        data = autoencoder_latents.encode(symbols, [steep])
        np.testing.assert_array_equal(reference_decode(data, symbols.shape, [steep]), symbols)


shapes = st.tuples(st.integers(1, 3), st.integers(0, 7), st.integers(0, 7))
values = st.one_of(st.integers(-6, 6), st.sampled_from(EXTREMES), st.integers(-(2**31), 2**31 - 1))
weights = st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=40)


@hypothesis.given(st.data(), shapes)
def test_any_array_round_trips(data: st.DataObject, shape: tuple[int, int, int]) -> None:
    symbols = data.draw(hnp.arrays(np.int32, shape, elements=values))
    tables = [
        table(data.draw(weights), data.draw(st.sampled_from([-3, 0, 5, -(2**31), 2**31 - 50]))) for _ in symbols
    ]
    stream = autoencoder_latents.encode(symbols, tables)
    assert stream == autoencoder_latents.encode(symbols.copy(), tables)
    assert len(stream) % 4 == 0
    decoded = autoencoder_latents.decode(stream, shape, tables)
    assert decoded.dtype == np.int32
    np.testing.assert_array_equal(decoded, symbols)


@pytest.mark.parametrize("escapes", [0, 40])
def test_the_size_is_the_ideal_code_length(escapes: int) -> None:
    tables = laplacian_tables(4)
    symbols = np.rint(np.random.default_rng(3).laplace(0, 2, (4, 40, 40))).astype(np.int32).clip(-6, 6)
    symbols.reshape(-1)[:escapes] = 100_000
    bits = 0.0
    for channel, t in zip(symbols, tables, strict=True):
        index = channel.ravel().astype(np.int64) - t.minimum
        escaped = (index < 0) | (index >= t.frequencies.size - 1)
        index[escaped] = t.frequencies.size - 1
        bits += -np.log2(t.frequencies[index] / entropy_tables.TOTAL).sum() + 32 * escaped.sum()
    assert abs(8 * len(autoencoder_latents.encode(symbols, tables)) - bits) <= 64


@hypothesis.given(weights)
def test_frequencies_sum_to_the_total_and_keep_the_shares(given: list[float]) -> None:
    share = np.array(given)
    frequencies = entropy_tables.to_frequencies(share)
    assert frequencies.dtype == np.int64
    assert frequencies.sum() == entropy_tables.TOTAL
    assert frequencies.min() >= 1
    assert (
        np.abs(frequencies / entropy_tables.TOTAL - share / share.sum()).max()
        <= 2 * share.size / entropy_tables.TOTAL
    )


def test_frequencies_of_the_largest_table() -> None:
    frequencies = entropy_tables.to_frequencies(np.random.default_rng(0).pareto(0.5, entropy_tables.MAX_TABLE) + 1e-9)
    assert (int(frequencies.sum()), int(frequencies.min())) == (entropy_tables.TOTAL, 1)


@pytest.mark.parametrize(
    "frequencies",
    [
        [],
        [entropy_tables.TOTAL],
        [entropy_tables.TOTAL, 0],
        [entropy_tables.TOTAL + 1, -1],
        [1, 1],
        [entropy_tables.TOTAL, 1],
        [1] * (entropy_tables.MAX_TABLE + 1),
    ],
)
def test_bad_tables_are_refused(frequencies: list[int]) -> None:
    with pytest.raises(errors.FormatError, match=f"symbol table: {len(frequencies)} frequencies"):
        SymbolTable(0, np.array(frequencies, np.int64))


def test_fit_covers_what_it_saw_and_more_and_codes_it_well() -> None:
    seen = np.rint(np.random.default_rng(0).laplace(3, 5, 20_000)).astype(np.int32)
    fitted = SymbolTable.fit(seen)
    last = fitted.minimum + fitted.frequencies.size - 2
    assert fitted.minimum < seen.min() <= seen.max() < last
    counts = np.bincount(seen - seen.min())
    entropy_bits = -(counts[counts > 0] * np.log2(counts[counts > 0] / seen.size)).sum()
    assert 8 * len(autoencoder_latents.encode(seen.reshape(1, 100, 200), [fitted])) < 1.01 * entropy_bits
    assert SymbolTable.fit(seen[:0]).frequencies.sum() == entropy_tables.TOTAL
    with pytest.raises(errors.InputError, match="coarser quantisation"):
        SymbolTable.fit(np.array([0, 70_000], np.int32))


STREAM_TABLES = laplacian_tables(2)
STREAM_SYMBOLS = np.rint(np.random.default_rng(9).laplace(0, 4, (2, 9, 9))).astype(np.int32)
STREAM = autoencoder_latents.encode(STREAM_SYMBOLS, STREAM_TABLES)


def decode_damaged(data: bytes) -> None:
    """Damage is reported or decodes to wrong symbols of the right shape (a checksum's work), nothing else."""
    with contextlib.suppress(errors.FormatError):
        assert autoencoder_latents.decode(data, STREAM_SYMBOLS.shape, STREAM_TABLES).shape == STREAM_SYMBOLS.shape


def test_every_truncation() -> None:
    for length in range(0, len(STREAM), 4):
        decode_damaged(STREAM[:length])
    for length in (1, 2, 3, len(STREAM) - 1):
        with pytest.raises(errors.FormatError, match=f"{length} bytes"):
            autoencoder_latents.decode(STREAM[:length], STREAM_SYMBOLS.shape, STREAM_TABLES)


def test_every_flipped_bit() -> None:
    for bit in range(8 * len(STREAM)):
        damaged = bytearray(STREAM)
        damaged[bit // 8] ^= 1 << bit % 8
        decode_damaged(bytes(damaged))


@hypothesis.given(st.binary(max_size=400).map(lambda data: data[: len(data) // 4 * 4]))
def test_any_bytes(data: bytes) -> None:
    decode_damaged(data)


def test_wrong_number_of_tables_is_refused() -> None:
    with pytest.raises(errors.FormatError, match="2 channels with 1 tables"):
        autoencoder_latents.decode(STREAM, STREAM_SYMBOLS.shape, STREAM_TABLES[:1])


def coder() -> LatentCoder:
    rng = np.random.default_rng(2)
    latents = [rng.normal(0, 3, (3, 8, width)).astype(np.float32) for width in (8, 5)]
    return LatentCoder.fit(latents, np.array([0.5, 1, 0.25], np.float32), (1, 4))


def test_latent_coder_quantises_to_the_nearest_multiple() -> None:
    fitted = coder()
    latent = np.random.default_rng(4).normal(0, 6, (3, 5, 7)).astype(np.float32)
    for multiplier in (1, 4):
        symbols = fitted.quantise(latent, multiplier)
        assert symbols.dtype == np.int32
        back = fitted.dequantise(symbols, multiplier)
        assert back.dtype == np.float32
        half = fitted.steps[:, None, None] * multiplier / 2
        assert (np.abs(back - latent) <= half * (1 + 1e-5)).all()
        data = fitted.encode(symbols, multiplier)
        np.testing.assert_array_equal(fitted.decode(data, (5, 7), multiplier), symbols)
    assert np.abs(fitted.quantise(latent * np.float32(1e30), 1)).max() == 2**30


def test_latent_coder_names_the_calibrated_multipliers() -> None:
    coder().check(4)
    with pytest.raises(errors.InputError, match=r"got multiplier 2; .*\[1, 4\]"):
        coder().check(2)


def test_latent_coder_round_trips_through_arrays() -> None:
    fitted = coder()
    arrays = fitted.to_arrays()
    again = LatentCoder.from_arrays(arrays)
    assert sorted(again.tables) == [1, 4]
    for name, array in again.to_arrays().items():
        assert array.dtype == arrays[name].dtype
        np.testing.assert_array_equal(array, arrays[name])
    symbols = fitted.quantise(np.random.default_rng(4).normal(0, 6, (3, 5, 7)).astype(np.float32), 4)
    assert again.encode(symbols, 4) == fitted.encode(symbols, 4)


@pytest.mark.parametrize("name", ["steps", "multipliers", "minimum", "size", "frequencies"])
def test_latent_coder_refuses_garbage(name: str) -> None:
    arrays = coder().to_arrays()
    good = arrays[name]
    bad = [None, good[:0], good[:-1], np.concatenate([good, good[-1:]])]
    if name not in ("multipliers", "minimum"):
        bad += [-good, good * 0]
    if name == "steps":
        bad += [good * np.float32(np.nan)]
    if name in ("size", "multipliers"):
        bad += [good.astype(np.float32) * np.float32(np.inf)]
    for array in bad:
        changed = {k: v for k, v in arrays.items() if k != name} | ({} if array is None else {name: array})
        with pytest.raises(errors.FormatError):
            LatentCoder.from_arrays(changed)
