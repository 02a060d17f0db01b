import json

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import rasterio

from sarcodec import errors, radiometry
from sarcodec.autoencoder.normalization import Bounds, Clipping, Histogram, Normalizer
from sarcodec.radiometry import Fill, Quantity

RNG = np.random.default_rng(5)
INTENSITY = RNG.gamma(4.4, 0.05 / 4.4, 4000).astype(np.float32)
DB = (10 * np.log10(INTENSITY)).astype(np.float32)
DN = np.maximum(np.rint(400 * np.sqrt(INTENSITY / 0.05)), 1)


@pytest.mark.parametrize(
    ("unit", "quantity"),
    [
        ("sigma0 dB", Quantity.DB),
        ("sigma0 (dB)", Quantity.DB),
        ("Gamma0 [dB]", Quantity.DB),
        ("intensity_db", Quantity.DB),
        ("Decibel", Quantity.DB),
        ("amplitude DN", Quantity.DN),
        ("digital number", Quantity.DN),
        ("Intensity", Quantity.INTENSITY),
        ("linear power", Quantity.INTENSITY),
        ("sigma nought", Quantity.INTENSITY),
        ("beta0", Quantity.INTENSITY),
        ("", None),
        ("metres", None),
        ("dna dbase powerful", None),
    ],
)
def test_quantity_from_text(unit: str, quantity: Quantity | None) -> None:
    assert radiometry.quantity_from_text(unit) is quantity


@pytest.mark.parametrize(
    ("sample", "quantity"),
    [
        (DN.astype(np.uint16), Quantity.DN),
        (np.zeros((3, 3), np.uint16), Quantity.DN),
        (DN.astype(np.int16), Quantity.DN),
        (DN.astype(np.float32), Quantity.DN),
        (DB, Quantity.DB),
        (DB.astype(np.float64), Quantity.DB),
        (INTENSITY, Quantity.INTENSITY),
        (INTENSITY - np.float32(0.001), Quantity.INTENSITY),  # noise subtraction leaves a few negative values
    ],
)
def test_detect_by_dtype_and_range(sample: np.ndarray, quantity: Quantity) -> None:
    assert radiometry.detect_quantity(sample) is quantity


def test_detect_ignores_nodata_zeros_and_non_finite_pixels() -> None:
    for junk, nodata in [(-9999.0, -9999.0), (np.nan, np.nan), (0.0, None), (np.inf, None), (-np.inf, 0.0)]:
        sample = np.concatenate([np.full(9000, junk, np.float32), DB])
        assert radiometry.detect_quantity(sample, nodata) is Quantity.DB


def test_a_tag_wins_over_the_range() -> None:
    assert radiometry.detect_quantity(DB, unit="intensity") is Quantity.INTENSITY
    assert radiometry.detect_quantity(DN.astype(np.uint16), unit="sigma0 dB") is Quantity.DB


@pytest.mark.parametrize(
    "sample",
    [
        np.zeros(9, np.float32),
        np.full(9, np.nan, np.float32),
        np.array([], np.float32),
        DB.astype(np.int16),
        np.array([7.5, 30.25, 100.125], np.float32),
        np.concatenate([np.full(99, -9999.0), DB]),
    ],
)
def test_ambiguity_is_refused_and_the_message_says_what_to_pass(sample: np.ndarray) -> None:
    with pytest.raises(errors.AmbiguousQuantity, match=r"--quantity\) intensity, dn or db"):
        radiometry.detect_quantity(sample)


def test_parse() -> None:
    assert [Quantity.parse(name) for name in ("DB", "dn", "Intensity")] == [
        Quantity.DB,
        Quantity.DN,
        Quantity.INTENSITY,
    ]
    with pytest.raises(errors.InputError, match="'power'; pass one of intensity, dn, db"):
        Quantity.parse("power")


def test_detection_on_the_real_chips_with_and_without_tags(data_dir) -> None:
    chips = sorted(data_dir.glob("t*/*_d[bn].tif"))
    assert len(chips) == 20
    for path in chips:
        expected = Quantity.DB if path.stem.endswith("_db") else Quantity.DN
        with rasterio.open(path) as dataset:
            for band in dataset.indexes:
                pixels = dataset.read(band)
                assert radiometry.detect_quantity(pixels, dataset.nodata, dataset.tags()["UNITS"]) is expected
                assert radiometry.detect_quantity(pixels, dataset.nodata) is expected


SPECIAL = np.array([1.5, 0, -0.0, -3, np.nan, np.inf, -np.inf, -9999], np.float32)


@pytest.mark.parametrize("quantity", [Quantity.INTENSITY, Quantity.DN])
def test_classify_linear(quantity: Quantity) -> None:
    expected = [
        Fill.VALID,
        Fill.ZERO,
        Fill.ZERO,
        Fill.NEGATIVE,
        Fill.NAN,
        Fill.POSITIVE_INFINITY,
        Fill.NEGATIVE_INFINITY,
        Fill.NEGATIVE,
    ]
    codes = radiometry.classify(SPECIAL, quantity)
    assert codes.dtype == np.uint8
    assert codes.tolist() == expected
    assert radiometry.classify(SPECIAL, quantity, -9999).tolist() == [*expected[:-1], Fill.NODATA]
    assert radiometry.classify(SPECIAL, quantity, 0.0).tolist()[:3] == [Fill.VALID, Fill.NODATA, Fill.NODATA]
    assert radiometry.classify(SPECIAL, quantity, np.nan).tolist()[4] == Fill.NODATA
    assert radiometry.classify(SPECIAL, quantity, 1.5).tolist()[0] == Fill.NODATA


def test_classify_db_takes_every_finite_value() -> None:
    valid = radiometry.classify(SPECIAL, Quantity.DB) == Fill.VALID
    np.testing.assert_array_equal(valid, np.isfinite(SPECIAL))
    assert radiometry.classify(SPECIAL, Quantity.DB, np.nan).tolist() == [0, 0, 0, 0, Fill.NODATA, 4, 5, 0]


def test_classify_integers() -> None:
    dn = np.array([[0, 1], [65535, 7]], np.uint16)
    assert radiometry.classify(dn, Quantity.DN).tolist() == [[Fill.ZERO, 0], [0, 0]]
    assert radiometry.classify(dn, Quantity.DN, 65535.0).tolist() == [[Fill.ZERO, 0], [Fill.NODATA, 0]]
    assert radiometry.classify(dn, Quantity.DN, np.nan).tolist() == [[Fill.ZERO, 0], [0, 0]]
    db = np.array([0, -32768, -12], np.int16)
    assert radiometry.classify(db, Quantity.DB, -32768).tolist() == [0, Fill.NODATA, 0]


@pytest.mark.parametrize("nodata", [None, np.nan, -9999.0, 0.0])
def test_fill_values_restore_what_classify_saw(nodata: float | None) -> None:
    codes = radiometry.classify(SPECIAL, Quantity.INTENSITY, nodata)
    for value, code in zip(SPECIAL, codes, strict=True):
        if code not in (Fill.VALID, Fill.NEGATIVE):
            np.testing.assert_array_equal(radiometry.fill_value(int(code), "float32", nodata), value)
    negative = radiometry.fill_value(Fill.NEGATIVE, "float32", nodata)
    np.testing.assert_equal(negative, np.nan if nodata is None else nodata)


def test_fill_values_of_integers() -> None:
    assert radiometry.fill_value(Fill.NEGATIVE, "int16") == 0
    assert radiometry.fill_value(Fill.NEGATIVE, "int16", np.nan) == 0
    assert radiometry.fill_value(Fill.NODATA, "uint16", 65535) == 65535
    for code in (Fill.NAN, Fill.POSITIVE_INFINITY, 7, 255):
        with pytest.raises(errors.FormatError, match=f"code {int(code)}"):
            radiometry.fill_value(code, "uint16")


@pytest.mark.parametrize("quantity", [Quantity.DN, Quantity.INTENSITY])
def test_large_images_of_16_bits_have_the_same_decibels(quantity: Quantity) -> None:
    """Which are looked up in a table."""
    values = np.arange(1 << 17, dtype=np.int64).astype(np.uint16).reshape(512, 256)
    expected = [radiometry.to_db(row, quantity) for row in values]
    np.testing.assert_array_equal(radiometry.to_db(values, quantity), expected)


def test_to_db_values_and_noise_floor() -> None:
    np.testing.assert_allclose(radiometry.to_db(np.array([1, 10, 0.001]), Quantity.INTENSITY), [0, 10, -30])
    np.testing.assert_allclose(radiometry.to_db(np.array([1, 10, 1000], np.uint16), Quantity.DN), [0, 20, 60])
    floor = 10 * np.log10(radiometry.NOISE_FLOOR)
    assert floor == -100
    dark = np.array([0, -1, 1e-30, -np.inf, radiometry.NOISE_FLOOR])
    for quantity in (Quantity.INTENSITY, Quantity.DN):
        np.testing.assert_allclose(radiometry.to_db(dark[:4], quantity), floor)
        db = radiometry.to_db(np.array([np.nan, 1.0], np.float32), quantity)
        assert np.isnan(db[0])
        assert db[1] == 0
        assert db.dtype == np.float32
    assert radiometry.to_db(np.array([-120.5, np.nan]), Quantity.DB)[0] == np.float32(-120.5)


@pytest.mark.parametrize("dtype", ["uint16", "int32", "uint32"])
def test_every_dn_comes_back_exactly(dtype: str) -> None:
    dn = np.arange(1, 65536).astype(dtype)
    back = radiometry.from_db(radiometry.to_db(dn, Quantity.DN), Quantity.DN, dtype)
    assert back.dtype == dn.dtype
    np.testing.assert_array_equal(back, dn)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("quantity", list(Quantity))
def test_floats_come_back_to_float32_rounding(quantity: Quantity, dtype: str) -> None:
    linear = np.geomspace(1e-5, 1e5, 5001)
    values = (10 * np.log10(linear) if quantity is Quantity.DB else linear).astype(dtype)
    back = radiometry.from_db(radiometry.to_db(values, quantity), quantity, dtype)
    assert back.dtype == values.dtype
    if quantity is Quantity.DB:
        np.testing.assert_array_equal(back, values.astype(np.float32))
    else:
        # half a float32 step at up to 100 dB is 3.8e-6 dB, a relative error of 8.8e-7 in intensity
        np.testing.assert_allclose(back, values, rtol=1e-6)


def test_integers_in_db_and_intensity() -> None:
    db = np.arange(-120, 60).astype(np.int16)
    np.testing.assert_array_equal(radiometry.from_db(radiometry.to_db(db, Quantity.DB), Quantity.DB, "int16"), db)
    power = np.array([1, 2, 1000, 65535], np.uint16)
    back = radiometry.from_db(radiometry.to_db(power, Quantity.INTENSITY), Quantity.INTENSITY, "uint16")
    np.testing.assert_array_equal(back, power)


def test_a_valid_integer_stays_valid_and_inside_its_dtype() -> None:
    extremes = np.array([-300.0, -100.0, -7.0, 0.0, 400.0], np.float32)
    for quantity in (Quantity.DN, Quantity.INTENSITY):
        for dtype in ("uint8", "uint16", "int16", "uint32"):
            values = radiometry.from_db(extremes, quantity, dtype)
            assert values.min() == 1
            assert values[-1] == np.iinfo(dtype).max
    assert radiometry.from_db(np.array([0.2, 1e6]), Quantity.DB, "int16").tolist() == [0, 32767]


def test_histogram_agrees_with_numpy() -> None:
    values = np.concatenate([RNG.normal(-12, 4, 60_000), RNG.normal(5, 1, 20_000)]).astype(np.float32)
    histogram = Histogram()
    histogram.add(values)
    exact = values.astype(np.float64)
    assert histogram.total == values.size
    assert histogram.mean == pytest.approx(exact.mean(), abs=1e-9)
    assert histogram.std == pytest.approx(exact.std(), abs=1e-9)
    for percent in (0, 0.05, 1, 25, 50, 75, 99, 99.95, 100):
        exact_percentile = np.percentile(exact, percent, method="inverted_cdf")
        assert abs(histogram.percentile(percent) - exact_percentile) <= Histogram.STEP * 1.001


def test_histogram_in_pieces_equals_one_go() -> None:
    values = RNG.normal(-12, 4, (100, 70)).astype(np.float32)
    values[::7] = np.nan
    values[3, 1], values[3, 2] = np.inf, -np.inf
    whole, pieces = Histogram(), Histogram()
    whole.add(values)
    for row in values:
        pieces.add(row)
    pieces.add(values[:0])
    np.testing.assert_array_equal(whole.counts, pieces.counts)
    assert whole.total == np.isfinite(values).sum()
    assert (whole.mean, whole.std) == pytest.approx((pieces.mean, pieces.std), rel=1e-12)


def test_histogram_counts_what_lies_outside_in_its_outermost_bins() -> None:
    histogram = Histogram()
    histogram.add(np.array([-1e3, -3e38, 500, 3e38, 3e38], np.float32))
    assert (histogram.counts[0], histogram.counts[-1], histogram.total) == (2, 3, 5)


def test_bounds_from_a_distribution() -> None:
    values = RNG.normal(-12, 4, 50_000).astype(np.float32)
    histogram = Histogram()
    histogram.add(values)
    exact = values.astype(np.float64)
    by_percentile = histogram.bounds(Clipping("percentile", 1, 98))
    low, high = np.percentile(exact, [1, 98])
    assert (by_percentile.vmin, by_percentile.vmax) == pytest.approx((low, high), abs=0.011)
    by_sigma = histogram.bounds(Clipping("sigma", 2, 3))
    assert by_sigma.vmin == pytest.approx(exact.mean() - 2 * exact.std(), abs=1e-4)
    assert by_sigma.vmax == pytest.approx(exact.mean() + 3 * exact.std(), abs=1e-4)
    assert histogram.bounds(Clipping("fixed", -30, 5)) == Bounds(-30, 5)


@pytest.mark.parametrize("method", [Clipping("percentile"), Clipping("percentile", 0, 100), Clipping("sigma", 3, 3)])
@pytest.mark.parametrize("value", [-12.0, 0.0, -119.999, 3.14159])
def test_a_constant_distribution_has_usable_bounds_around_it(method: Clipping, value: float) -> None:
    histogram = Histogram()
    histogram.add(np.full(1000, value, np.float32))
    bounds = histogram.bounds(method)
    assert bounds.vmin < value < bounds.vmax
    assert bounds.span < 0.05


def test_bounds_of_nothing_are_refused() -> None:
    with pytest.raises(errors.InputError, match="no valid pixel"):
        Histogram().bounds(Clipping())
    with pytest.raises(errors.InputError, match="at least one training image"):
        Normalizer.fit({}, Clipping())


@pytest.mark.parametrize(
    "rule",
    [
        ("percentile", 5, 5),
        ("percentile", -1, 50),
        ("percentile", 1, 101),
        ("percentile", np.nan, 50),
        ("sigma", 0, 3),
        ("sigma", 3, -1),
        ("fixed", 5, -30),
        ("minmax", 0, 1),
    ],
)
def test_bad_clipping_is_refused(rule: tuple[str, float, float]) -> None:
    with pytest.raises(errors.InputError, match=f"clipping: got {rule[0]}"):
        Clipping(*rule)


@pytest.mark.parametrize("pair", [(0, 0), (1, 0), (np.nan, 1), (0, np.inf)])
def test_bad_bounds_are_refused(pair: tuple[float, float]) -> None:
    with pytest.raises(errors.InputError, match="vmin < vmax"):
        Bounds(*pair)


decibels = st.floats(-120, 80).map(lambda x: round(x, 4))


@hypothesis.given(decibels, st.floats(0.02, 90).map(lambda x: round(x, 4)), st.lists(st.floats(0, 1), max_size=20))
def test_bounds_round_trip_inside_and_clip_outside(vmin: float, span: float, shares: list[float]) -> None:
    bounds = Bounds(vmin, vmin + span)
    inside = np.clip(np.float32(vmin) + np.float32(span) * np.array(shares, np.float32), vmin, vmin + span)
    scaled = bounds.apply(inside)
    assert scaled.dtype == np.float32
    assert ((scaled >= 0) & (scaled <= 1)).all()
    rounding = 4 * np.spacing(np.float32(max(abs(vmin), abs(vmin + span), span)))
    np.testing.assert_allclose(bounds.invert(scaled), inside, atol=float(rounding), rtol=0)
    ends = bounds.apply(np.array([vmin - 5, vmin, vmin + span, vmin + span + 5, np.inf, -np.inf], np.float32))
    np.testing.assert_allclose(ends, [0, 0, 1, 1, 1, 0], atol=float(rounding) / span)
    assert ends.max() <= 1
    assert ends.min() >= 0
    assert np.isnan(bounds.apply(np.array([np.nan], np.float32)))[0]


def normalizer() -> Normalizer:
    histograms = {}
    for key, mean in [("db/VV", -10), ("db/VH", -17), ("dn/VV", 45)]:
        histograms[key] = Histogram()
        histograms[key].add((mean + RNG.normal(0, 2, 5000)).astype(np.float32))
    return Normalizer.fit(histograms, Clipping("sigma", 3, 3))


def test_normalizer_fits_every_key_on_its_own() -> None:
    fitted = normalizer()
    centres = {key: (b.vmin + b.vmax) / 2 for key, b in fitted.bounds.items()}
    assert centres == pytest.approx({"db/VH": -17, "db/VV": -10, "dn/VV": 45}, abs=0.2)


def test_normalizer_select() -> None:
    fitted = normalizer()
    bounds = fitted.bounds
    assert fitted.select(Quantity.DB, "VV", -30) is bounds["db/VV"]
    assert fitted.select(Quantity.INTENSITY, "VH", 0) is bounds["db/VH"]
    assert fitted.select(Quantity.DN, "VV", 0) is bounds["dn/VV"]
    assert fitted.select(Quantity.DB, "", -16) is bounds["db/VH"]
    assert fitted.select(Quantity.DB, "HH", 44) is bounds["db/VV"]  # the quantity's own entries come first
    assert fitted.select(Quantity.DN, "VH", -17) is bounds["dn/VV"]
    only_db = Normalizer(fitted.clipping, {k: b for k, b in bounds.items() if k.startswith("db")})
    assert only_db.select(Quantity.DN, "VV", -16) is bounds["db/VH"]


def test_normalizer_round_trip_through_json() -> None:
    fitted = normalizer()
    assert Normalizer.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


GOOD = {"clipping": {"method": "fixed", "low": -30, "high": 5}, "bounds": {"db/VV": [-30, 5]}}


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        "text",
        {},
        GOOD | {"more": 1},
        {"bounds": GOOD["bounds"]},
        GOOD | {"clipping": {"method": "fixed", "low": -30, "high": 5, "width": 3}},
        GOOD | {"clipping": {"method": "fixed", "low": 5, "high": -30}},
        GOOD | {"clipping": {"method": "fixed", "low": "a", "high": "b"}},
        GOOD | {"bounds": {}},
        GOOD | {"bounds": [[-30, 5]]},
        GOOD | {"bounds": {"db/VV": [5, -30]}},
        GOOD | {"bounds": {"db/VV": [-30]}},
        GOOD | {"bounds": {"db/VV": ["x", 5]}},
        GOOD | {"bounds": {"db/VV": [float("nan"), 5]}},
    ],
)
def test_normalizer_refuses_garbage(record: object) -> None:
    assert Normalizer.from_dict(GOOD).bounds["db/VV"] == Bounds(-30, 5)
    with pytest.raises(errors.FormatError, match="normalizer"):
        Normalizer.from_dict(record)


@pytest.mark.parametrize(
    ("dtype", "nodata", "quantity"),
    [("uint16", 7, "dn"), ("uint16", 65535, "dn"), ("int16", -12, "db"), ("float32", -12.0, "db")],
)
def test_a_valid_pixel_never_comes_back_as_nodata(dtype: str, nodata: float, quantity: str) -> None:
    known = radiometry.Quantity(quantity)
    db = np.full((3, 3), 20 * np.log10(nodata) if quantity == "dn" else nodata, np.float32)
    db[0, 0] += 3
    plain = radiometry.from_db(db, known, dtype)
    aside = radiometry.from_db(db, known, dtype, nodata)
    assert (plain == nodata).any()
    assert not (aside == nodata).any()
    assert np.abs(aside.astype(float) - plain.astype(float)).max() <= 1


def test_a_stray_negative_does_not_hide_an_intensity() -> None:
    values = np.random.default_rng(0).gamma(4.4, 0.02, (50, 50)).astype(np.float32)
    values[3, 4] = -0.5
    assert radiometry.detect_quantity(values) is Quantity.INTENSITY
    values[:, ::3] *= -1
    with pytest.raises(errors.AmbiguousQuantity):
        radiometry.detect_quantity(values)
