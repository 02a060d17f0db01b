"""The ground of a simulated scene: what grows and stands where, and its backscatter."""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Classes = npt.NDArray[np.uint8]
Reals = npt.NDArray[np.float64]
Rng = np.random.Generator
CLASSES = ("sea", "field", "forest", "town", "river", "ship")
"""Names of the values 0, 1, ... of `Scene.land_cover`."""
SEA, FIELD, FOREST, TOWN, RIVER, SHIP = range(6)
POLARISATIONS = ("VV", "VH")
NESZ_DB = -25.0
INCIDENCE_RAD = math.radians(39.0)
_CROPS_DB = np.array(  # VV, VH of bare soil, cereals, grass, stubble, beet and maize, wet soil
    [[-14.5, -22.0], [-13.0, -18.5], [-11.5, -18.0], [-11.0, -18.5], [-8.5, -14.5], [-9.5, -17.0]]
)


def _fractal(shape: tuple[int, int], coarse_px: float, fine_px: float, rng: Rng, hurst: float = 0.8) -> Floats:
    """Make noise of about unit variance with detail between two sizes in pixels, float32 (H, W).

    Successive random additions (Voss, 1985): at each halving of the grid step, noise smaller by 2^-hurst is
    added; Chaikin's corner cutting in between gives smooth quadratic splines without creases.
    """
    levels = max(0, round(math.log2(coarse_px)))
    finest = min(levels, max(0, round(math.log2(fine_px))))
    field = np.zeros([math.ceil(size / 2**levels) + 2 for size in shape], np.float32)
    for level in range(levels, -1, -1):
        if level >= finest:
            field += 0.5 ** (hurst * (levels - level)) * rng.standard_normal(field.shape, np.float32)
        if level:
            rows, columns = (math.ceil(2 * size / 2**level) + 2 for size in shape)
            field = _refine(field)[:rows, :columns]
    variance = 0.3 * sum(0.25 ** (hurst * octave) for octave in range(levels - finest + 1))
    return field[: shape[0], : shape[1]] / np.float32(math.sqrt(variance))


def _refine(field: Floats) -> Floats:
    """Halve the grid step by corner cutting: (H, W) becomes (2H - 2, 2W - 2)."""
    tall = np.empty((2 * (field.shape[0] - 1), field.shape[1]), np.float32)
    tall[::2] = 0.75 * field[:-1] + 0.25 * field[1:]
    tall[1::2] = 0.25 * field[:-1] + 0.75 * field[1:]
    fine = np.empty((tall.shape[0], 2 * (tall.shape[1] - 1)), np.float32)
    fine[:, ::2] = 0.75 * tall[:, :-1] + 0.25 * tall[:, 1:]
    fine[:, 1::2] = 0.25 * tall[:, :-1] + 0.75 * tall[:, 1:]
    return fine


def _quantile(field: Floats, fraction: float) -> np.float32:
    return np.float32(np.quantile(field.ravel()[:: max(1, field.size // 250_000)], fraction))


def ground(height: int, width: int, spacing_m: float, rng: Rng) -> tuple[Classes, Floats]:
    """Make land cover, uint8 (H, W), and VV and VH backscatter plus noise floor, linear float32 (2, H, W)."""
    shape = height, width
    inland = _fractal(shape, 4000 / spacing_m, 40 / spacing_m, rng)
    inland += np.linspace(-2, 2, width, dtype=np.float32)
    bend = _fractal(shape, 1800 / spacing_m, 900 / spacing_m, rng)
    cover = _land_cover(inland, bend, spacing_m, rng)
    wind = 5.5 + 1.5 * _fractal(shape, 6000 / spacing_m, 200 / spacing_m, rng)
    relief_db = _relief_db(inland, spacing_m, rng)
    texture_db = _fractal(shape, 160 / spacing_m, 1, rng, 0.3)
    district = np.floor(1.5 * _fractal(shape, 3000 / spacing_m, 400 / spacing_m, rng)).astype(np.int32) & 7

    ground_db = np.empty((2, height, width), np.float32)
    flat_db = ground_db.reshape(2, -1)
    for value in (SEA, FIELD, FOREST, TOWN, RIVER):
        where = np.flatnonzero(cover == value)
        if value == SEA:
            flat_db[:, where] = _sea_db(bend.ravel()[where], wind.ravel()[where])
        elif value == FOREST:
            flat_db[:, where] = np.array([[-8.3], [-14.3]]) + (texture_db + relief_db).ravel()[where]
        elif value == RIVER:
            flat_db[:, where] = np.array([[-19.5], [-26.5]])
        else:
            paint = _field_db if value == FIELD else _town_db
            along, across = _district_axes(where, bend, district, spacing_m)
            flat_db[:, where] = paint(along, across, district.ravel()[where], rng)
            flat_db[:, where] += (0.4 * texture_db + relief_db).ravel()[where]
    ground = np.power(np.float32(10), np.multiply(ground_db, 0.1, out=ground_db), out=ground_db)
    for lines in (*ground, ground[0].T, ground[1].T):  # the resolution of the sensor softens edges
        soft = 0.6 * lines
        soft[1:] += 0.2 * lines[:-1]
        soft[:-1] += 0.2 * lines[1:]
        soft[0] += 0.2 * lines[0]
        soft[-1] += 0.2 * lines[-1]
        lines[:] = soft
    _add_buildings(ground, cover, spacing_m, rng)
    _add_ships(ground, cover, spacing_m, rng)
    ground += np.float32(10 ** (NESZ_DB / 10))
    return cover, ground


def _land_cover(inland: Floats, bend: Floats, spacing_m: float, rng: Rng) -> Classes:
    """Class a fifth as sea, the rest mostly by height; rivers run from right to left."""
    height, width = inland.shape
    sea = inland < _quantile(inland, 0.2)
    woods = _fractal(inland.shape, 1200 / spacing_m, 50 / spacing_m, rng) + 0.7 * inland
    cover = np.where(woods > _quantile(woods, 0.7), np.uint8(FOREST), np.uint8(FIELD))
    urban = _fractal(inland.shape, 2500 / spacing_m, 50 / spacing_m, rng)
    plain = ~sea & (cover == FIELD)
    if plain.any():
        cover[plain & (urban > _quantile(urban[plain], 0.88))] = TOWN
    # Rivers are level lines of "northing plus smooth noise": unbroken, meandering, now and then an oxbow.
    northing = 450 * bend + (spacing_m * np.arange(height, dtype=np.float32))[:, None]
    slope = np.abs(np.diff(northing, axis=0, append=northing[-1:]))
    slope += np.abs(np.diff(northing, axis=1, append=northing[:, -1:]))
    distance = np.abs((northing - northing[height // 2, width // 2] + 8000) % 16000 - 8000)
    half_width_px = np.maximum(np.linspace(90, 40, width, dtype=np.float32) / spacing_m, 1)
    cover[distance <= half_width_px * slope] = RIVER
    cover[sea] = SEA
    return cover


def _relief_db(inland: Floats, spacing_m: float, rng: Rng) -> Floats:
    """Compute the brightness of slopes in dB, 10 log10(sin i / sin(i - slope)), radar on the left.

    Source: the ratio of illuminated areas (Ulaby, Moore and Fung, 1982, Microwave Remote Sensing II). Slopes
    grow with height: flat at the coast, about 9 degrees (one standard deviation) in the hills.
    """
    relief = _fractal(inland.shape, 2000 / spacing_m, 60 / spacing_m, rng, 1.0)
    slope = np.diff(relief, axis=1, append=relief[:, -1:])
    steepness = np.clip(0.08 * (inland + 0.5), 0, 0.16) / max(float(slope.std()), 1e-6)
    slope = np.clip(slope * steepness, -0.4, 0.4)
    return np.asarray(10 * np.log10(math.sin(INCIDENCE_RAD) / np.sin(INCIDENCE_RAD - slope)), np.float32)


def _sea_db(bend: Floats, wind: Floats) -> Floats:
    """Compute VV and VH of the sea for a wind in m/s; streaks follow the level lines of a smooth field."""
    streaks = 0.4 * np.sin(9 * bend + wind) + 0.3 * np.sin(25 * bend + 2 * wind)
    speed = np.clip(wind + streaks, 1.5, 15)
    return np.stack([13 * np.log10(speed) - 26.5, 0.592 * speed - 35.6])


def _district_axes(
    where: npt.NDArray[np.int64], bend: Floats, district: Ints, spacing_m: float
) -> tuple[Floats, Floats]:
    """Compute coordinates in metres of the flat indices `where`, bent and turned by district."""
    rows, columns = (spacing_m * axis.astype(np.float32) for axis in np.divmod(where, bend.shape[1]))
    columns += 80 * bend.ravel()[where]
    angle = np.deg2rad(12 + 23 * np.arange(8)).astype(np.float32)
    cosine, sine = (turn(angle)[district.ravel()[where]] for turn in (np.cos, np.sin))
    return cosine * columns + sine * rows, cosine * rows - sine * columns


def _key(along: Floats | Reals, across: Floats | Reals, district: Ints) -> Ints:
    """Scatter the whole parts of coordinates over 0...4095 (a spatial hash)."""
    key = np.floor(along).astype(np.int32) * np.int32(73856093)
    key ^= np.floor(across).astype(np.int32) * np.int32(19349663)
    key ^= district * np.int32(83492791)
    return (key ^ (key >> 15)) & 4095


def _table(numbers: Reals, key: Ints) -> Floats:
    return numbers.astype(np.float32)[key]


def _field_db(along: Floats, across: Floats, district: Ints, rng: Rng) -> Floats:
    """Compute VV and VH of strips of parcels with one crop each, and of farm tracks between strips."""
    strip = across / _table(rng.uniform(180, 420, 8), district)
    strip_key = _key(np.zeros_like(strip), strip, district)
    parcel = along / _table(rng.uniform(110, 550, 4096), strip_key) + _table(rng.random(4096), strip_key)
    key = _key(parcel, strip, district)
    crops = _CROPS_DB[rng.integers(0, len(_CROPS_DB), 4096)]
    crops += rng.normal(0, 0.8, (4096, 1)) + rng.normal(0, 0.5, (4096, 2))
    lengthwise = rng.random(4096) < 0.5
    crops[:, 0] += np.where(lengthwise, 0.5, -0.5)  # rows across the look direction are brighter in VV
    rows = np.where(lengthwise[key], across, along)
    track = (strip % 1 < 0.05) & (strip_key % 3 == 0)
    change = 0.4 * np.sin(rows * np.float32(2 * math.pi / 90)) - 3.5 * track.astype(np.float32)
    return np.stack([_table(crop, key) + change for crop in crops.T])


def _town_db(along: Floats, across: Floats, district: Ints, rng: Rng) -> Floats:
    """Compute VV and VH of blocks of houses, dark streets, and double-bounce lines along some fronts."""
    block, house = _key(along / 130, across / 130, district), _key(along / 26, across / 26, district)
    street = (along % 130 < 15) | (across % 130 < 12)
    front = (along % 130 < 30) & (_table(rng.random(4096), block) < 0.3)
    vv = _table(rng.normal(-6, 2.5, 4096), block) + _table(rng.normal(0, 3.5, 4096), house)
    vv = np.where(street, np.float32(-13), vv + 8 * front.astype(np.float32))
    return np.stack([vv, vv - _table(rng.normal(7.5, 1.5, 4096), house)])


def _add_buildings(ground: Floats, cover: Classes, spacing_m: float, rng: Rng) -> None:
    """Add corner reflectors: dense in towns, lonely farms in the fields."""
    for value, per_km2 in ((TOWN, 120.0), (FIELD, 1.0)):
        where = np.flatnonzero(cover == value)
        count = int(rng.poisson(where.size * (spacing_m / 1000) ** 2 * per_km2))
        if count:
            rows, columns = np.divmod(rng.choice(where, count), cover.shape[1])
            peak_db = np.minimum(rng.exponential(5.0, count), 24)
            _add_points(ground, rows + rng.random(count), columns + rng.random(count), peak_db)


def _add_ships(ground: Floats, cover: Classes, spacing_m: float, rng: Rng) -> None:
    """Add ships of 40 to 200 m as rows of points, at least three where there is sea, and class them."""
    sea = np.flatnonzero(cover == SEA)
    if not sea.size:
        return
    count = max(3, int(rng.poisson(sea.size * (spacing_m / 1000) ** 2 * 0.3)))
    rows, columns = np.divmod(rng.choice(sea, count)[:, None], cover.shape[1])
    heading = rng.uniform(0, math.pi, (count, 1))
    offset = np.linspace(-0.5, 0.5, 16) * rng.uniform(40, 200, (count, 1)) / spacing_m
    peak_db = rng.normal(0, 3, (count, 16)) + rng.normal(5, 3, (count, 1))
    rows_px = (rows + offset * np.sin(heading)).ravel()
    columns_px = (columns + offset * np.cos(heading)).ravel()
    _add_points(ground, rows_px, columns_px, peak_db.ravel())
    row, column = np.rint(rows_px).astype(np.int64), np.rint(columns_px).astype(np.int64)
    inside = (row >= 0) & (row < cover.shape[0]) & (column >= 0) & (column < cover.shape[1])
    row, column = row[inside], column[inside]
    cover[row, column] = np.where(cover[row, column] == SEA, np.uint8(SHIP), cover[row, column])


def _add_points(ground: Floats, rows_px: Reals, columns_px: Reals, peak_db: Reals) -> None:
    """Add point responses of VV peak `peak_db` at places in pixels; VH is 9 dB lower.

    Along each axis the response at distance d pixels is (sinc(d/2) exp(-d²/25))²: 1.7 pixels wide at half
    power, side lobes below -18 dB, about those of the Hamming-weighted IW processor.
    """
    index, response = [], []
    for place, size in zip((rows_px, columns_px), ground.shape[1:], strict=True):
        pixel = np.rint(place)[:, None] + np.arange(-6, 7)
        distance = pixel - place[:, None]
        inside = (pixel >= 0) & (pixel < size)
        response.append(np.where(inside, (np.sinc(distance / 2) * np.exp(-(distance**2) / 25)) ** 2, 0))
        index.append(np.clip(pixel, 0, size - 1).astype(np.int64))
    power = 10 ** (peak_db / 10)[:, None, None] * response[0][:, :, None] * response[1][:, None, :]
    for band, scale in zip(ground, (1.0, 10**-0.9), strict=True):
        np.add.at(band, (index[0][:, :, None], index[1][:, None, :]), (scale * power).astype(np.float32))
