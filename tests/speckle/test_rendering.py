import binascii
import dataclasses
import functools

import numpy as np
import pytest
from scipy import ndimage

from sarcodec import errors
from sarcodec.metrics import looks, radiometric
from sarcodec.simulate import scenes, speckle
from sarcodec.speckle import measure, render
from sarcodec.speckle import record as speckle_record

SEED = 11


@functools.cache
def tile(height=384, width=320, seed=3):
    """Speckle on a gentle slope and what is left of it: smoothed in dB, so mean intensity is wrong too."""
    slope = np.linspace(-12, -6, height)[:, None] + np.linspace(0, 3, width)
    original = (slope + 10 * np.log10(speckle.draw(height, width, seed=seed))).astype(np.float32)
    return original, ndimage.gaussian_filter(original, 1.5), np.ones(original.shape, bool)


@functools.cache
def record():
    return measure.measure(*tile(), seed=SEED)


def spectrum(image, size=64):
    """Mean periodogram of all size×size patches side by side, smoothed over 3×3 frequencies."""
    taper = np.outer(np.hanning(size), np.hanning(size))
    rows, columns = (side // size for side in image.shape)
    patches = image[: rows * size, : columns * size].reshape(rows, size, columns, size).swapaxes(1, 2)
    centred = (patches - patches.mean(axis=(2, 3), keepdims=True)) * taper
    return ndimage.uniform_filter((np.abs(np.fft.fft2(centred)) ** 2).mean(axis=(0, 1)), 3, mode="wrap")


def test_bytes_round_trip_and_are_few():
    lost = record()
    data = lost.to_bytes()
    assert speckle_record.LostSpeckle.from_bytes(data) == lost
    assert speckle_record.LostSpeckle.from_bytes(data).to_bytes() == data
    assert 8 * len(data) / (384 * 320) < 0.008


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (33, 2), (64, 64), (65, 129)])
def test_every_size_makes_a_record_and_a_finite_field(shape):
    original, decoded, valid = tile(*shape)
    lost = measure.measure(original, decoded, valid, seed=SEED)
    assert speckle_record.LostSpeckle.from_bytes(lost.to_bytes()) == lost
    rendered = render.render(decoded, lost, seed=SEED)
    assert rendered.shape == shape and rendered.dtype == np.float32
    assert np.isfinite(rendered).all()


def test_extreme_values_round_trip():
    lost = record()
    std = tuple(np.resize([0, 127], len(lost.std)).tolist())
    offsets = tuple(np.resize([-6, 6], len(lost.offsets)).tolist())
    series = tuple(np.resize([127, -127, -127], len(lost.series)).tolist())
    extreme = dataclasses.replace(lost, std=std, offsets=offsets, series=series, trim=-127, std_step=255)
    assert speckle_record.LostSpeckle.from_bytes(extreme.to_bytes()) == extreme
    assert np.isfinite(render.render(tile()[1], extreme, seed=SEED)).all()


def test_every_damage_is_a_format_error():
    data = record().to_bytes()
    for length in range(len(data)):
        with pytest.raises(errors.FormatError, match="speckle record"):
            speckle_record.LostSpeckle.from_bytes(data[:length])
    for position in range(len(data)):
        for bit in (1, 128):
            damaged = bytearray(data)
            damaged[position] ^= bit
            with pytest.raises(errors.FormatError, match="speckle record"):
                speckle_record.LostSpeckle.from_bytes(bytes(damaged))


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [(0, 2, "version 2"), (1, 0, "not .* values"), (1, 64, "not .* values"), (8, 1, "damaged"), (6, 128, "trim")],
)
def test_a_forged_checksum_does_not_help(position, value, message):
    body = bytearray(record().to_bytes()[:-2])
    body[position] = value
    forged = bytes(body) + binascii.crc_hqx(bytes(body), 0).to_bytes(2, "little")
    with pytest.raises(errors.FormatError, match=message):
        speckle_record.LostSpeckle.from_bytes(forged)


def test_bytes_after_the_values_are_refused():
    body = record().to_bytes()[:-2] + b"\0"
    with pytest.raises(errors.FormatError, match="damaged"):
        speckle_record.LostSpeckle.from_bytes(body + binascii.crc_hqx(body, 0).to_bytes(2, "little"))


def test_equal_seeds_draw_equal_fields_and_others_do_not():
    decoded, lost = tile()[1], record()
    first = render.render(decoded, lost, seed=SEED)
    assert np.array_equal(first, render.render(decoded, lost, seed=SEED))
    assert measure.measure(*tile(), seed=SEED) == lost
    for other in ({"seed": SEED + 1}, {"seed": SEED, "top": 384}, {"seed": SEED, "left": 320}):
        field = render.render(decoded, lost, **other) - decoded
        assert abs(np.corrcoef(field.ravel(), (first - decoded).ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("place", [(0, 0), (1000, 77)])
def test_a_window_is_the_same_part_of_the_whole(place):
    decoded, lost = tile()[1], record()
    position = {"seed": SEED, "top": place[0], "left": place[1]}
    whole = render.render(decoded, lost, **position)
    for row, column, height, width in [(0, 0, 1, 1), (100, 30, 57, 200), (383, 319, 1, 1), (127, 127, 2, 2)]:
        window = np.s_[row : row + height, column : column + width]
        part = render.render(decoded[window], lost, start=(row, column), **position)
        assert np.array_equal(part, whole[window])


def test_tiles_of_one_scene_meet_without_a_seam():
    """The noise runs on across the border of two tiles."""
    left, lost = np.zeros((384, 320), np.float32), record()
    both = np.hstack([render.render(left, lost, seed=1), render.render(left, lost, seed=1, left=320)])
    steps = np.abs(np.diff(both, axis=1)).mean(axis=0)
    assert steps[319] < 1.3 * steps.mean()


def test_invalid_pixels_do_not_matter_and_stay_invalid():
    original, decoded, valid = (image.copy() for image in tile())
    valid[:70, :200] = False
    valid[200, 100] = False
    expected = measure.measure(original, decoded, valid, seed=SEED)
    original[~valid], decoded[~valid] = np.nan, 1e6
    assert measure.measure(original, decoded, valid, seed=SEED) == expected
    decoded[~valid] = np.nan
    rendered = render.render(decoded, expected, seed=SEED)
    assert np.array_equal(np.isnan(rendered), ~valid)
    assert looks.enl_ratio(original, rendered, valid) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("height", [5, 100])
def test_a_tile_without_a_valid_pixel_or_a_loss_gets_no_field(height):
    original, _, valid = tile(height, 90)
    for mask in (valid, ~valid):
        lost = measure.measure(original, original, mask, seed=SEED)
        rendered = render.render(original, lost, seed=SEED)
        assert np.abs(rendered - original).max() < 0.02


def test_a_large_tile_with_few_valid_pixels_gets_a_field():
    """Wherever they are, though most patches of a large tile are not looked at."""
    original, decoded, valid = tile(704, 640)
    for left in (0, 32):
        few = np.zeros_like(valid)
        few[640:672, left : left + 32] = True
        assert max(measure.measure(original, decoded, few, seed=SEED).std) > 0


def test_looks_come_back():
    original, decoded, valid = tile()
    rendered = render.render(decoded, record(), seed=SEED)
    assert looks.enl_ratio(original, decoded, valid) > 2
    assert 0.9 <= looks.enl_ratio(original, rendered, valid) <= 1.1


def test_mean_intensity_comes_back():
    original, decoded, valid = tile()
    assert abs(radiometric.radiometric_bias(original, decoded, valid)[0]) > 0.2
    overall, median, _ = radiometric.radiometric_bias(original, render.render(decoded, record(), seed=SEED), valid)
    assert abs(overall) < 0.01
    assert median < 0.1
    overall, _, _ = radiometric.radiometric_bias(original, render.render(decoded, record(), seed=99), valid)
    assert abs(overall) < 0.1


def test_a_bias_that_differs_from_block_to_block_goes():
    """Offsets are interpolated, so those of neighbours have to be reckoned with."""
    original, decoded, valid = tile()
    steps = np.random.default_rng(2).uniform(-0.6, 0.6, (12, 10))
    decoded = decoded + np.kron(steps, np.ones((32, 32))).astype(np.float32)
    lost = measure.measure(original, decoded, valid, seed=SEED)
    overall, median, largest = radiometric.radiometric_bias(original, render.render(decoded, lost, seed=SEED), valid)
    assert abs(overall) < 0.01
    assert median < 0.1
    assert largest < 0.25


@pytest.mark.parametrize("bias_db", [-2, 2, 4])
def test_a_bias_beyond_the_trim_goes(bias_db):
    original, decoded, valid = tile()
    lost = measure.measure(original, decoded + bias_db, valid, seed=SEED)
    rendered = render.render(decoded + bias_db, lost, seed=SEED)
    overall, median, _ = radiometric.radiometric_bias(original, rendered, valid)
    assert abs(overall) < 0.01
    assert median < 0.1


def test_a_bias_beyond_the_largest_offset_is_no_error():
    """A block whose intensity vanishes, and one far too dark."""
    original, decoded, valid = (image.copy() for image in tile())
    original[:32, :32], decoded[64:96, 64:96] = -400, -140
    lost = measure.measure(original, decoded, valid, seed=SEED)
    assert np.isfinite(render.render(decoded, lost, seed=SEED)).all()


@pytest.mark.parametrize(("unequal", "side"), [(False, 512), (True, 512), (True, 768)])
def test_the_spectrum_comes_back(unequal, side):
    """Also where rows and columns are correlated unequally, as in resampled scenes, and in large tiles."""
    white = np.random.default_rng(5).gamma(4.4, 1 / 4.4, (side, side))
    sigmas = (1.2, 0.7) if unequal else (0.8, 0.8)
    original = 10 * np.log10(ndimage.gaussian_filter(white, sigmas))
    decoded = ndimage.gaussian_filter(original, 2.0)
    valid = np.ones(original.shape, bool)
    lost = measure.measure(original, decoded, valid, seed=SEED)
    wanted, got = spectrum(original), spectrum(render.render(decoded, lost, seed=SEED))
    difference_db = 10 * np.log10(got / wanted)
    loud = wanted > 1e-2 * wanted.max()
    loud[:2, :2] = loud[-1:, :2] = loud[:2, -1:] = False
    assert np.sqrt((difference_db[loud] ** 2).mean()) < 0.7
    for line in (np.s_[2:33, 0], np.s_[0, 2:33]):  # single frequencies scatter by 0.4 dB by chance
        along = difference_db[line][loud[line]]
        assert np.sqrt((along**2).mean()) < 0.9
        assert np.abs(along).max() < 1.6


def test_speckle_of_a_varied_scene_comes_back():
    scene = scenes.scene(256, 256, seed=4)
    valid = np.isfinite(scene.sigma0[0])
    original = 10 * np.log10(np.where(valid, scene.sigma0[0], 1.0))
    decoded = ndimage.gaussian_filter(original, 1.2)
    lost = measure.measure(original, decoded, valid, seed=SEED)
    rendered = render.render(decoded, lost, seed=SEED)
    assert looks.enl_ratio(original, decoded, valid) > 1.8
    assert 0.75 <= looks.enl_ratio(original, rendered, valid) <= 1.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"original_db": np.zeros((3, 3))}, "original_db"),
        ({"decoded_db": np.full((384, 320), np.nan)}, "decoded_db: 122880 valid pixels are not finite"),
        ({"decoded_db": np.zeros((384, 320), complex)}, "decoded_db"),
        ({"valid": np.ones((384, 320))}, "valid"),
        ({"valid": np.ones((0, 4), bool)}, "valid"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"top": -1}, "top is -1"),
        ({"left": 2**32}, "left is"),
    ],
)
def test_measure_names_a_bad_argument(change, message):
    original, decoded, valid = tile()
    arguments = {"original_db": original, "decoded_db": decoded, "valid": valid, "seed": 0}
    with pytest.raises(errors.InputError, match=message):
        measure.measure(**(arguments | change))


@pytest.mark.parametrize(
    ("image", "start", "message"),
    [
        (np.zeros(4), (0, 0), "decoded_db"),
        (np.zeros((4, 4), bool), (0, 0), "decoded_db"),
        (np.zeros((0, 4)), (0, 0), "decoded_db"),
        (np.zeros((385, 320)), (0, 0), "start"),
        (np.zeros((4, 4)), (-1, 0), "start"),
        (np.zeros((4, 4)), (0, 317), "start"),
    ],
)
def test_render_names_a_bad_argument(image, start, message):
    with pytest.raises(errors.InputError, match=message):
        render.render(image, record(), seed=SEED, start=start)


@pytest.mark.parametrize("change", [{"height": 0}, {"std": (1,)}, {"offsets": ()}, {"trim": 128}, {"std_step": -1}])
def test_a_record_names_a_bad_field(change):
    with pytest.raises(errors.InputError, match=next(iter(change))):
        dataclasses.replace(record(), **change)
