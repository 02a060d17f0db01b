"""What several test modules share."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import rasterio
import rasterio.errors

hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("repeatable")

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real Sentinel-1 chips: SARCODEC_DATA, else shared/data beside the repository."""
    folder = Path(os.environ.get("SARCODEC_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "train").is_dir():
        pytest.skip(f"no real chips in {folder}; set SARCODEC_DATA to the folder that holds train/ and test/")
    return folder


@pytest.fixture
def write_tif(tmp_path: Path) -> Callable[..., Path]:
    """Write a GeoTIFF with rasterio alone: ``write_tif(name, (bands, H, W) or (H, W), bands=("VV",), tags={}, …)``.

    Further keywords go to ``rasterio.open``. Relative names land in ``tmp_path``, folders are made.
    """

    def write(
        name: str | Path,
        pixels: np.ndarray,
        *,
        bands: tuple[str, ...] = (),
        tags: dict[str, str] | None = None,
        **profile: Any,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cube = pixels if pixels.ndim == 3 else pixels[None]
        shape = dict(zip(("count", "height", "width"), cube.shape, strict=True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(path, "w", driver="GTiff", dtype=str(cube.dtype), **shape, **profile) as dataset:
                dataset.write(cube)
                dataset.update_tags(**(tags or {}))
                for band, text in enumerate(bands, 1):
                    dataset.set_band_description(band, text)
        return path

    return write


@pytest.fixture
def speckle() -> Callable[..., np.ndarray]:
    """Return ``speckle(shape, seed=0, looks=4.4, mean=0.05)``: Gamma-distributed intensity, float32."""

    def make(shape: tuple[int, ...], seed: int = 0, looks: float = 4.4, mean: float = 0.05) -> np.ndarray:
        return (mean * np.random.default_rng(seed).gamma(looks, 1 / looks, shape)).astype(np.float32)

    return make
