"""Calibration: the table between its entries, the formula, a real product's table, damage."""

from pathlib import Path

import numpy as np
import pytest
from scipy import interpolate

import safe_product
from sarcodec import errors, tiling
from sarcodec.raster import safe, sigma0

WHOLE = tiling.Window(0, 150, 0, 200)


def table(pol: str = "VV") -> sigma0.Table:
    return sigma0.Table.from_xml(safe_product.calibration(pol).encode())


def test_entries_come_back() -> None:
    found = table().at(WHOLE)
    for line in (0, 50, 140):
        for pixel in (0, 40, 199):
            expected = safe_product.sigma_table("VV", line, np.array(float(pixel)))
            assert found[line, pixel] == pytest.approx(expected, rel=1e-6)


def test_between_entries_it_is_bilinear() -> None:
    """Against SciPy's interpolation on the same grid."""
    parsed = table("VH")
    grid = np.array([values for _, values in parsed.vectors])
    peer = interpolate.RegularGridInterpolator((parsed.lines, parsed.vectors[0][0]), grid)
    rows, columns = np.indices((150, 200))
    np.testing.assert_allclose(parsed.at(WHOLE), peer((rows, columns)), rtol=1e-12)


def test_a_window_is_cut_from_the_whole() -> None:
    window = tiling.Window(37, 99, 21, 180)
    np.testing.assert_array_equal(table().at(window), table().at(WHOLE)[window.slices])


def test_outside_the_table_its_nearest_entry() -> None:
    found = table().at(tiling.Window(165, 400, 190, 260))
    assert (found[10:] == found[-1]).all() and (found[:, 10:] == found[:, -1:]).all()


def test_the_formula() -> None:
    dn = safe_product.dn("VV")
    calibrated = sigma0.calibrate(dn, table())
    np.testing.assert_allclose(calibrated, (dn / table().at(WHOLE)) ** 2, rtol=1e-12)
    assert ((calibrated == 0) == (dn == 0)).all()
    part = sigma0.calibrate(dn[60:80, 30:90], table(), 60, 30)
    np.testing.assert_array_equal(part, calibrated[60:80, 30:90])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<sigmaNought", "<sigmaNothing"),
        ("<line>50</line>", "<line>fifty</line>"),
        ("<line>50</line>", "<line>0</line>"),
        ('<pixel count="6">0 40', '<pixel count="6">40 0'),
        ('<pixel count="6">0 40', '<pixel count="6">40'),
        ("</calibration>", ""),
        ("calibrationVector>", "vector>"),
        ("<calibration>", "<!DOCTYPE a><calibration>"),
    ],
)
def test_damage(old: str, new: str) -> None:
    data = safe_product.calibration("VV")
    assert old in data
    with pytest.raises(errors.FormatError, match="calibration"):
        sigma0.Table.from_xml(data.replace(old, new).encode())


def test_a_real_table(data_dir: Path) -> None:
    """One vector in the middle and a pixel between four entries, by hand from the file's text."""
    (packed,) = sorted((data_dir / "safe").glob("S1B*.zip"))
    found = safe.calibration(packed, "VV")
    assert len(found.lines) == 27 and found.lines[0] == 0
    assert all(len(pixels) == len(found.vectors[0][0]) for pixels, _ in found.vectors)
    line, (pixels, values) = int(found.lines[13]), found.vectors[13]
    window = tiling.Window(line, line + 1, 0, 26102)
    np.testing.assert_allclose(found.at(window)[0][pixels.astype(int)], values, rtol=1e-12)
    middle = (line + int(found.lines[14])) // 2
    share = (middle - line) / (found.lines[14] - line)
    between = tiling.Window(middle, middle + 1, 1020, 1021)
    low, high = (0.5 * (v[25] + v[26]) for _, v in found.vectors[13:15])
    assert found.vectors[13][0][25] == 1000
    np.testing.assert_allclose(found.at(between), (1 - share) * low + share * high, rtol=1e-9)
