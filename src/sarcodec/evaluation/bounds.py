"""What any linear code, and any code of a Gaussian source, could reach at best.

Two yardsticks beside the real codecs: the Karhunen-Loève transform keeping some of its coefficients at unlimited
precision, and the rate-distortion function of a Gaussian source with the spectrum of an image. Images are 2-D in
dB, distortion is mean square error in dB².
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from sarcodec import errors
from sarcodec.metrics import error as metric_error

BLOCK: Final = 16

Image = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, eq=False)
class Klt:
    """Karhunen-Loève transform of square blocks, fitted once on training images.

    Keeping `kept` of n = block² coefficients per block is the least mean square error that any linear code with as
    many numbers per block can have on the images it was fitted on (Jolliffe, Principal Component Analysis, 2002,
    section 2.1); on other images the bound is as good as the fit. The mean of each image is removed first and given
    back for free, so that images on unlike scales (DN, sigma nought) can be fitted together.

    Attributes
    ----------
    basis : ndarray, shape (n, n), float64
        Orthonormal eigenvectors of the block covariance as rows, by falling variance.
    variances : ndarray, shape (n,), float64
        Their eigenvalues in dB², falling.
    """

    basis: Image
    variances: Image

    @classmethod
    def fit(cls, images_db: Iterable[ArrayLike], block: int = BLOCK) -> Self:
        """Fit on all whole blocks of the training images, each in its eight flips and turns.

        Parameters
        ----------
        images_db : iterable of array_like, shape (H, W), real
            Images in dB. Blocks with a value that is not finite are left out, so invalid pixels must be NaN.
        block : int
            Side of the blocks, 1 to 64 pixels.

        Raises
        ------
        InputError
            If an image is not 2-D, `block` is out of range, or no whole block of finite values is left.
        """
        if not 1 <= block <= 64:
            raise errors.InputError(f"block: got {block}; pass 1 to 64")
        size = block * block
        count, products = 0, np.zeros((size, size))
        for image_db in images_db:
            image = _checked(image_db)
            height, width = (side // block * block for side in image.shape)
            blocks = _to_blocks(image[:height, :width], block)
            blocks = blocks[np.isfinite(blocks).all(axis=1)]
            if len(blocks):
                blocks = blocks - blocks.mean()
                count += len(blocks)
                products += blocks.T @ blocks
        if not count:
            raise errors.InputError(f"images_db: no whole {block}x{block} block of finite values; pass larger images")
        positions = _eight_ways(block)
        covariance = np.mean([products[np.ix_(way, way)] for way in positions], axis=0) / count
        variances, vectors = np.linalg.eigh(covariance)
        return cls(np.ascontiguousarray(vectors.T[::-1]), np.maximum(variances[::-1], 0.0))

    @property
    def block(self) -> int:
        """Side of a block in pixels."""
        return math.isqrt(len(self.variances))

    def approximate(self, image_db: ArrayLike, kept: int, valid: ArrayLike | None = None) -> Image:
        """Restore an image from the first coefficients of every block, at unlimited precision.

        Parameters
        ----------
        image_db : array_like, shape (H, W), real
            Image in dB of any size: borders are repeated up to whole blocks.
        kept : int
            Coefficients kept per block, 0 to block²; with all of them the image comes back but for rounding.
        valid : array_like, shape (H, W), bool, optional
            True where a pixel counts; all finite pixels by default. Others are filled with the mean of the valid
            ones before the transform.

        Returns
        -------
        ndarray, shape (H, W), float64
            The restored image in dB, NaN where a pixel is not valid.

        Raises
        ------
        InputError
            If the image is not 2-D, `kept` is out of range, `valid` is not bool of its shape, nothing is valid,
            or a valid pixel is not finite.
        """
        image = _checked(image_db)
        mask = _mask(image, np.isfinite(image) if valid is None else valid)
        if not 0 <= kept <= len(self.basis):
            raise errors.InputError(f"kept: got {kept}; pass 0 to {len(self.basis)}")
        mean = image[mask].mean()
        centred = np.where(mask, image - mean, 0.0)
        pads = [(0, -side % self.block) for side in image.shape]
        padded = np.pad(centred, pads, mode="edge")
        basis = self.basis[:kept]
        restored = _to_blocks(padded, self.block) @ basis.T @ basis
        whole = _from_blocks(restored, padded.shape, self.block) + mean
        return np.where(mask, whole[: image.shape[0], : image.shape[1]], np.nan)

    def to_arrays(self) -> dict[str, Image]:
        """Return the fields as arrays by name, to be written with ``numpy.savez``."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, ArrayLike]) -> Self:
        """Undo `to_arrays`, also from what ``numpy.load`` returns.

        Raises
        ------
        FormatError
            If a field is missing, of another shape or not finite, or the basis is not orthonormal.
        """
        try:
            basis, variances = (np.asarray(arrays[f.name], dtype=np.float64) for f in dataclasses.fields(cls))
        except (KeyError, ValueError) as error:
            raise errors.FormatError(f"arrays: not the arrays of a Klt ({error}); pass those of to_arrays") from error
        size = math.isqrt(variances.size) ** 2
        if not size or variances.shape != (size,) or basis.shape != (size, size):
            raise errors.FormatError(f"arrays: got shapes {basis.shape} and {variances.shape}, which no Klt has")
        if not np.isfinite(variances).all() or not np.allclose(basis @ basis.T, np.eye(size), atol=1e-6):
            raise errors.FormatError("arrays: the basis is not orthonormal or a variance not finite; fit it again")
        return cls(basis, variances)


def gaussian_rate(spectrum: ArrayLike, distortion: float) -> float:
    """Least rate of a Gaussian source at a mean square error: reverse water-filling.

    For independent Gaussian components of variances λ and a water level θ with mean(min(θ, λ)) = D, the rate is
    R(D) = mean(max(0, ½·log2(λ/θ))) (Cover and Thomas, Elements of Information Theory, 2nd ed., theorem 10.3.3;
    Berger, Rate Distortion Theory, 1971, section 4.5). With the eigenvalues of a block covariance it is the rate of
    vectors of that length; with the power spectrum of a stationary field it is the rate of the field.

    Parameters
    ----------
    spectrum : array_like of real, any shape, not empty
        Variances λ >= 0 of the components, each of the same weight, in dB².
    distortion : float
        Mean square error D > 0 per component, in dB².

    Returns
    -------
    float
        Bits per component; 0 where D is at least the mean variance.

    Raises
    ------
    InputError
        If the spectrum is empty or has a value that is negative or not finite, or the distortion is not positive.
    """
    variances = np.sort(np.asarray(spectrum, dtype=np.float64), axis=None)
    if not variances.size or not np.isfinite(variances).all() or variances[0] < 0.0:
        raise errors.InputError("spectrum: empty, or a value is negative or not finite; pass variances >= 0")
    if not distortion > 0.0:
        raise errors.InputError(f"distortion: got {distortion}; pass a mean square error > 0")
    if distortion >= variances.mean():
        return 0.0
    # With the k smallest variances under water, D·n = their sum + (n - k)·θ: the first k whose θ is not above the
    # next variance is the one.
    under = np.concatenate([[0.0], np.cumsum(variances)[:-1]])
    levels = (distortion * variances.size - under) / np.arange(variances.size, 0, -1)
    first = int(np.argmax(levels <= variances))
    return float(0.5 * np.log2(variances[first:] / levels[first]).sum() / variances.size)


def block_spectrum(image_db: ArrayLike, valid: ArrayLike, block: int = BLOCK) -> Image:
    """Eigenvalues of the covariance of an image's own blocks, its mean removed.

    The covariance is that of a stationary field with the image's autocovariance, which averages over every position
    of a block: the covariance of the few hundred disjoint blocks of one image would, by its own noise, look 5 to
    10 % cheaper than it is.

    Parameters
    ----------
    image_db : array_like, shape (H, W), real
        Image in dB, both sides at least `block`, finite wherever `valid` is True.
    valid : array_like, shape (H, W), bool
        True where a pixel counts.
    block : int
        Side of the blocks, 1 to 64 pixels.

    Returns
    -------
    ndarray, shape (block²,), float64
        Variances in dB², falling, >= 0; their mean is the variance of the image.

    Raises
    ------
    InputError
        If an argument is not of that kind, or valid pixels are too scattered for some lag within a block.
    """
    image = _checked(image_db)
    mask = _mask(image, valid)
    if not 1 <= block <= min(64, *image.shape):
        raise errors.InputError(f"block: got {block} for an image of shape {image.shape}; pass 1 to 64 within it")
    covariance = _autocovariance(image, mask, block)
    rows, columns = np.divmod(np.arange(block * block), block)
    lag_rows = rows[:, None] - rows[None, :]
    lag_columns = columns[:, None] - columns[None, :]
    variances = np.linalg.eigvalsh(covariance[lag_rows + block - 1, lag_columns + block - 1])[::-1]
    # lags estimated from unequal numbers of pairs can make the matrix slightly indefinite
    clipped = np.maximum(variances, 0.0)
    return np.asarray(clipped * (covariance[block - 1, block - 1] / max(clipped.mean(), np.finfo(float).tiny)))


def gaussian_rate_distortion(
    image_db: ArrayLike, valid: ArrayLike, block: int = BLOCK, psnr: ArrayLike | None = None
) -> tuple[Image, Image]:
    """Rate-distortion curve of a stationary Gaussian source with the block spectrum of an image.

    It bounds codes of that source that treat blocks on their own. A real image is not stationary and a real codec
    looks across blocks, so a codec may cross the curve; it says what a fixed block transform can hope for.

    Parameters
    ----------
    image_db, valid, block
        As in `block_spectrum`.
    psnr : array_like of float, optional
        PSNR values in dB to compute the rate at; by default every quarter of a dB from 20 to 45.

    Returns
    -------
    bpp : ndarray, shape (N,), float64
        Bits per pixel, of Gaussian reverse water-filling (`gaussian_rate`).
    psnr : ndarray, shape (N,), float64
        The PSNR values, 20·log10(30 / RMSE) as in `metrics.psnr`.

    Raises
    ------
    InputError
        As `block_spectrum`.
    """
    points = np.arange(20.0, 45.01, 0.25) if psnr is None else np.atleast_1d(np.asarray(psnr, dtype=np.float64))
    spectrum = block_spectrum(image_db, valid, block)
    distortions = (metric_error.PEAK_DB * 10.0 ** (-points / 20.0)) ** 2
    return np.array([gaussian_rate(spectrum, float(value)) for value in distortions]), points


def _autocovariance(image: Image, mask: Mask, block: int) -> Image:
    """Autocovariance at lags -(block - 1)…block - 1 of rows and columns, over pairs of valid pixels."""
    centred = np.where(mask, image - image[mask].mean(), 0.0)
    shape = [fft.next_fast_len(side + block - 1, real=True) for side in image.shape]

    def correlation(field: NDArray[Any]) -> Image:
        power = np.abs(fft.rfft2(field, shape)) ** 2
        lags = np.roll(fft.irfft2(power, shape), (block - 1, block - 1), axis=(0, 1))
        return np.asarray(lags[: 2 * block - 1, : 2 * block - 1])

    pairs = np.rint(correlation(mask.astype(np.float64)))
    if pairs.min() < 1:
        raise errors.InputError(
            f"valid: {np.count_nonzero(mask)} valid pixels leave no pair for some lag within {block} pixels; "
            f"pass a smaller block or an image with more of them"
        )
    return np.asarray(correlation(centred) / pairs)


def _checked(image_db: ArrayLike) -> Image:
    image = np.asarray(image_db, dtype=np.float64)
    if image.ndim != 2 or not image.size:
        raise errors.InputError(f"image_db: got shape {image.shape}; pass a 2-D image")
    return image


def _mask(image: Image, valid: ArrayLike) -> Mask:
    mask = np.asarray(valid)
    if mask.dtype != np.bool_ or mask.shape != image.shape or not mask.any():
        raise errors.InputError(
            f"valid: got {mask.dtype} of shape {mask.shape} for an image of shape {image.shape}; "
            f"pass a bool array of its shape with at least one True"
        )
    if not np.isfinite(image[mask]).all():
        raise errors.InputError("image_db: a valid pixel is not finite; mark it as not valid")
    return np.asarray(mask, dtype=np.bool_)


def _to_blocks(image: Image, block: int) -> Image:
    """(H, W) with sides in whole blocks to (blocks, block²), row by row."""
    rows, columns = (side // block for side in image.shape)
    return image.reshape(rows, block, columns, block).swapaxes(1, 2).reshape(rows * columns, block * block)


def _from_blocks(blocks: Image, shape: tuple[int, ...], block: int) -> Image:
    rows, columns = (side // block for side in shape)
    return blocks.reshape(rows, columns, block, block).swapaxes(1, 2).reshape(shape)


def _eight_ways(block: int) -> list[NDArray[np.intp]]:
    """Pixel positions of a block in its eight flips and turns."""
    square = np.arange(block * block).reshape(block, block)
    turns = [np.rot90(square, quarter) for quarter in range(4)]
    return [way.ravel() for turn in turns for way in (turn, turn.T)]
