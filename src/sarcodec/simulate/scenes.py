"""Simulated Sentinel-1 scenes in linear sigma0, from a few lines of physics.

A scene is a coast with hills inland, farmland, forest, towns, a meandering river and ships. It needs no data,
so that examples, tests and benchmarks run anywhere; it does not replace real images in training.

The image is ``sigma0 = (backscatter + noise floor) * speckle``:

* *backscatter* by land cover, with texture (C band, incidence near 39 degrees, sigma0 in dB, VV / VH):
  fields -15...-8 / -22...-14, by crop and season (Veloso et al., 2017, Remote Sens. Environ. 199);
  forest about -8 / -14, smooth ground and streets about -13 / -20 (Ulaby and Dobson, 1989, Handbook of
  Radar Scattering Statistics for Terrain); towns -8...+3 with points beyond +10, as in real chips of towns;
  sea VV -24...-11 with the wind (rounded from CMOD5, Hersbach et al., 2007, J. Geophys. Res. 112), sea
  VH = 0.592 U - 35.6 dB for a wind of U m/s (Vachon and Wolfe, 2011, IEEE GRSL 8), below the noise floor.
* *noise floor*: the NESZ of IW mode, specified as -22 dB or better (Torres et al., 2012, Remote Sens.
  Environ. 120), here -25 dB.
* *speckle*: unit-mean Gamma whose shape is the equivalent number of looks (Oliver and Quegan, 2004,
  Understanding Synthetic Aperture Radar Images, ch. 4), correlated from pixel to pixel: see
  `sarcodec.simulate.speckle`.

Known differences from real chips:

* 4.4 looks is the nominal value of a GRD product. Resampling raises it: the most homogeneous 15 x 15 windows
  of real 10 m chips measure 6.0...6.7 (medians), those of simulated scenes 5.1; looks 5.5 and correlation
  0.68 come closest.
* Speckle has one correlation for both axes and the whole scene. In such windows, less each window's mean,
  lags 1 and 2 in dB are 0.65 and 0.18 along rows, 0.67 and 0.20 along columns in terrain-corrected chips
  (0.63 and 0.14 here, in intensity likewise); chips on another grid reach 0.86 and 0.59 along rows.
* Real chips are often noise-subtracted: VH over calm water reaches -30 dB and less, which it cannot here.
  The noise floor does not vary over the swath and there is no scalloping.
* Slopes only brighten and darken (local incidence): no foreshortening, layover or shadow.
* Bright points carry speckle like everything else; real ones are coherent and do not. There are no azimuth
  ambiguities, displaced moving targets or radio interference, and every crop has the same texture.
* Real land has more kinds of cover, softer transitions, roads, lakes and hedges. Parcels are strips here.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sarcodec import errors
from sarcodec.simulate import ground as simulate_ground
from sarcodec.simulate import speckle

Floats = npt.NDArray[np.float32]
Classes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """A simulated scene.

    Attributes
    ----------
    sigma0
        float32 (bands, H, W), linear sigma0 with speckle, > 0; NaN in the no-data border and only there.
    noise_free
        float32 (bands, H, W), the mean of `sigma0` over all speckles: backscatter plus noise floor, linear,
        > 0, finite in the border too.
    land_cover
        uint8 (H, W), indices into `CLASSES`, also in the border.
    polarisations
        Names of the bands.
    """

    sigma0: Floats
    noise_free: Floats
    land_cover: Classes
    polarisations: tuple[str, ...]


def scene(
    height: int,
    width: int,
    *,
    looks: float = 4.4,
    seed: int = 0,
    polarisations: tuple[str, ...] = ("VV", "VH"),
    spacing_m: float = 10.0,
    correlation: float = 0.65,
    nodata_border: bool = True,
) -> Scene:
    """Simulate a scene; equal arguments give equal scenes.

    Ground and speckle are drawn from separate streams: scenes that differ only in `looks`, `correlation`,
    `polarisations` or `nodata_border` show the same ground.

    Parameters
    ----------
    height, width
        Size in pixels, at least 1. Scenes of 1000 x 1000 pixels of 10 m and more hold every land cover.
    looks
        Equivalent number of looks of the speckle, > 0, not necessarily whole.
    seed
        Seed of every random choice, >= 0.
    polarisations
        Bands, in order, of "VV" and "VH", each at most once.
    spacing_m
        Pixel spacing in metres, 0.1 to 1000. Fields, streets and rivers keep their size in metres.
    correlation
        Lag-1 autocorrelation of the speckle intensity along both axes, in [0, 1).
    nodata_border
        Whether a slanted strip on the left and on the right is NaN, as beside a geocoded swath. Images
        narrower than 24 pixels have none.

    Raises
    ------
    InputError
        If an argument is outside its range.
    """
    speckle.check(height, width, looks, correlation, seed)
    if not polarisations or len({*polarisations} & {*simulate_ground.POLARISATIONS}) < len(polarisations):
        raise errors.InputError(
            f"polarisations is {polarisations!r}; give one or both of {simulate_ground.POLARISATIONS}, each once"
        )
    if not 0.1 <= spacing_m <= 1000:
        raise errors.InputError(f"spacing_m is {spacing_m!r}; give metres between 0.1 and 1000")

    ground_seed, *speckle_seeds = np.random.SeedSequence(seed).spawn(1 + len(simulate_ground.POLARISATIONS))
    land_cover, ground = simulate_ground.ground(height, width, spacing_m, np.random.default_rng(ground_seed))
    bands = [simulate_ground.POLARISATIONS.index(name) for name in polarisations]
    noise_free = ground if bands == [0, 1] else ground[bands]
    sigma0 = np.empty_like(noise_free)
    for i, band in enumerate(bands):
        rng = np.random.default_rng(speckle_seeds[band])
        np.multiply(noise_free[i], speckle.field(height, width, looks, correlation, rng), out=sigma0[i])
    if nodata_border:
        slant = np.linspace(0, width // 24, height)[:, None]
        columns = np.arange(width)
        sigma0[:, (columns < width // 24 - slant) | (columns >= width - slant)] = np.nan
    return Scene(sigma0, noise_free, land_cover, tuple(polarisations))
